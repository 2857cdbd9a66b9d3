#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""qemufilectl, and the crate under it, on the device and with a real QEMU.

Usage: ctl.py IMAGE      (the boot sector of the demo's guest; PROGRAMS is the folder of the tool)
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import stream
from device import DEVICE, abi, call, info
from park import lines, wait_for_lines
from tap import check, main, note, test

MIB = 1 << 20
IMAGE = sys.argv[1]
PROGRAMS = os.environ["PROGRAMS"]
TOOL = f"{PROGRAMS}/qemufilectl"
MOUNT = "/run/qemufile"
WORK = tempfile.mkdtemp()
DONE, USAGE, NAME, PERMISSION, ROOM, NOT_SET_UP, QEMU, FORMAT, INTERRUPTED = \
    0, 2, 3, 4, 5, 6, 7, 8, 130


def ctl(*arguments, status=DONE, **more):
    """Runs the tool; returns what it printed, or, if it has to fail, its one line."""
    result = subprocess.run([TOOL, *map(str, arguments)], capture_output=True, timeout=120, **more)
    error = result.stderr.decode()
    check(result.returncode == status, f"{arguments}: status {result.returncode}: {error}")
    if status == DONE:
        return result.stdout.decode()
    if status != USAGE:
        check(error.count("\n") == 1, f"{arguments}: not one line: {error}")
    return error


def ctl_json(*arguments, **more):
    return json.loads(ctl("--json", *arguments, **more))


def path(name):
    return f"{MOUNT}/{name}"


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def clear():
    for name in os.listdir(MOUNT):
        os.unlink(path(name))
    figures = os.statvfs(MOUNT)
    check(figures.f_blocks == figures.f_bfree, "an empty mount holds memory")


# ---- QEMU

def qmp(path_of, command, **arguments):
    """One command on a monitor that is free."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(path_of)
        file = monitor.makefile("rw")
        file.readline()
        for request in ({"execute": "qmp_capabilities"},
                        {"execute": command, "arguments": arguments}):
            file.write(json.dumps(request))
            file.flush()
            while "return" not in (answer := json.loads(file.readline())):
                check("error" not in answer, f"{command}: {answer}")
        return answer["return"]


class Guest:
    """A QEMU with two monitors: one for the tool, one for the test."""

    number = 0

    def __init__(self, *options):
        Guest.number += 1
        base = f"{WORK}/guest-{Guest.number}"
        self.serial, self.socket, self.monitor = f"{base}.serial", f"{base}.qmp", f"{base}.test"
        with open(self.serial, "wb"):
            pass
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                   "-M", "pc", "-accel", "tcg", "-m", "32",
                   "-drive", f"file={IMAGE},format=raw,if=floppy,read-only=on",
                   "-serial", f"file:{self.serial}"]
        for name in (self.socket, self.monitor):
            command += ["-qmp", f"unix:{name},server=on,wait=off"]
        self.process = subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not os.path.exists(self.monitor):
            check(self.process.poll() is None and time.monotonic() < end, "QEMU does not start")
            time.sleep(0.02)

    def qmp(self, command, **arguments):
        return qmp(self.monitor, command, **arguments)

    def running(self):
        return self.qmp("query-status")["running"]

    def counts_on(self):
        """The guest runs: it prints more numbers."""
        wait_for_lines(self.serial, len(lines(self.serial)) + 3, 60)

    def kill(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def guest(*options):
    qemu = Guest(*options)
    try:
        yield qemu
    finally:
        qemu.kill()


# ---- streams

@test
def the_crate_works_on_the_device():
    env = {**os.environ, "QEMUFILE_MOUNT": MOUNT}
    result = subprocess.run([f"{PROGRAMS}/device_test"], env=env, capture_output=True, text=True,
                            timeout=120)
    check(result.returncode == 0, result.stdout + result.stderr)
    note(result.stdout.strip().splitlines()[-1])


@test
def create_makes_a_stream_with_its_properties():
    ctl("create", "a", "--limit", "1M", "--drain", "--noshare", "--mode", "640")
    have = ctl_json("stat", "a")
    check(have["limit"] == MIB and set(have["properties"]) == {"drain", "noshare"}, have)
    check((have["length"], have["readers"], have["writers"]) == (0, 0, 0), have)
    check(os.stat(path("a")).st_mode & 0o777 == 0o640, "the mode")
    ctl("create", "a", status=NAME)
    ctl("create", "b", "--append", "--drain", status=USAGE)
    ctl("create", "b", "--limit", "0", status=USAGE)
    ctl("create", "no/such/b", status=NOT_SET_UP)
    ctl("create", f"{WORK}/b", status=NOT_SET_UP)
    check(os.listdir(MOUNT) == ["a"], os.listdir(MOUNT))
    clear()


@test
def put_and_cat_give_back_the_bytes():
    data = os.urandom(9 * MIB + 17)
    source = f"{WORK}/source"
    with open(source, "wb") as file:
        file.write(data)
    ctl("put", "a", source)
    check(read("a") == data, "put of a file")
    ctl("put", "b", input=data)
    check(read("b") == data, "put of a pipe")
    for stdout in ("pipe", "file"):
        with open(f"{WORK}/{stdout}", "wb") as file:
            target = subprocess.PIPE if stdout == "pipe" else file
            have = subprocess.run([TOOL, "cat", "a"], stdout=target, check=True, timeout=60).stdout
        if stdout == "file":
            with open(f"{WORK}/file", "rb") as file:
                have = file.read()
        check(have == data, f"cat to a {stdout}")
    with open(f"{WORK}/exists", "wb"):
        pass
    ctl("put", "a", f"{WORK}/exists", status=NAME)
    check(read("a") == data, "put replaced a stream that it was not told to")
    check(ctl_json("put", "a", source, "--replace", "--seal")["bytes"] == len(data), "put --json")
    check(ctl_json("stat", "a")["properties"] == ["sealed"], "put --seal")
    clear()


@test
def cat_follows_if_it_is_told_to():
    ctl("create", "a", "--follow")
    writer = os.open(path("a"), os.O_WRONLY)
    os.write(writer, b"first ")
    check(ctl("cat", "a") == "first ", "cat waits for more")
    with subprocess.Popen([TOOL, "cat", "--follow", "a"], stdout=subprocess.PIPE) as cat:
        check(cat.stdout.read(6) == b"first ", "the first part")
        os.write(writer, b"second")
        os.close(writer)
        check(cat.communicate(timeout=30)[0] == b"second", "the second part")
    clear()


@test
def put_leaves_nothing_if_it_cannot_put_all():
    data = bytes(3 * MIB)
    ctl("put", "a", "--limit", "2M", input=data, status=ROOM)
    check(os.listdir(MOUNT) == [], os.listdir(MOUNT))
    with subprocess.Popen([TOOL, "put", "a"], stdin=subprocess.PIPE) as put:
        put.stdin.write(data)
        put.stdin.flush()
        check(not os.path.exists(path("a")), "a part has the name")
        put.send_signal(signal.SIGINT)
        put.wait(30)
        put.stdin.close()
    clear()


@test
def clone_shares_and_replaces_at_once():
    ctl("put", "a", input=b"state" * 10000)
    ctl("seal", "a")
    ctl("clone", "a", "b")
    check(read("b") == read("a"), "the clone has other bytes")
    check(ctl_json("stat", "b")["properties"] == [], "a clone of a sealed stream is sealed")
    ctl("clone", "a", "b", status=NAME)
    with open(path("b"), "wb") as file:
        file.write(b"other")
    inode = os.stat(path("b")).st_ino
    ctl("clone", "a", "b", "--replace")
    check(read("b") == read("a") and os.stat(path("b")).st_ino != inode, "clone --replace")
    check(sorted(os.listdir(MOUNT)) == ["a", "b"], os.listdir(MOUNT))
    ctl("clone", "c", "d", status=NAME)
    ctl("clone", "a", f"{WORK}/a", status=1)
    clear()


@test
def seal_and_limit_hold():
    ctl("put", "a", input=b"state")
    ctl("limit", "a", "1M")
    check(ctl("limit", "a").strip() == "1.0 MiB", ctl("limit", "a"))
    check(ctl_json("limit", "a")["limit"] == MIB, "limit --json")
    ctl("limit", "a", "none")
    check(ctl_json("limit", "a")["limit"] is None, "no limit")
    ctl("seal", "a")
    try:
        os.truncate(path("a"), 0)
        check(False, "a sealed stream was cut")
    except PermissionError:
        pass
    ctl("seal", "a")
    ctl("rm", "a", "nothing", status=NAME)
    check(os.path.exists(path("a")), "rm removed a part of its list")
    ctl("rm", "a")
    ctl("stat", "a", status=NAME)
    clear()


@test
def list_shows_names_and_who_has_what_open():
    ctl("put", "a", input=bytes(MIB))
    os.mkdir(path("folder"))
    ctl("create", path("folder/b"), "--limit", "4K")
    reader = os.open(path("a"), os.O_RDONLY)
    device = os.open(DEVICE, os.O_RDWR)
    os.write(device, b"nameless")
    call(device, "SET_LIMIT", limit=8)
    try:
        os.write(device, b"more")
    except OSError:
        pass
    rows = ctl_json("list")
    named = {row["path"]: row for row in rows if row["path"]}
    check(sorted(named) == [path("a"), path("folder/b")], rows)
    row = named[path("a")]
    check((row["length"], row["readers"], row["writers"]) == (MIB, 1, 0), row)
    mine = [(file["pid"], file["fd"]) for file in row["open"]]
    check(mine == [(os.getpid(), reader)], row)
    check(named[path("folder/b")]["limit"] == 4096, named)
    nameless = [row for row in rows if row["descriptor"] == f"{os.getpid()}:{device}"]
    check(len(nameless) == 1 and nameless[0]["length"] == 8, rows)
    check(nameless[0]["errors"], f"the latched error is not shown: {nameless}")
    text = ctl("list")
    check(text.startswith("NAME") and "folder/b" in text and f"[{os.getpid()}]" in text, text)
    check("descriptor" not in ctl("list", "--names"), "list --names")
    have = ctl_json("stat", f"{os.getpid()}:{device}")
    check(have["handle"]["position"] == 8 and have["handle"]["error"] == 28, have)
    check(ctl("cat", f"{os.getpid()}:{device}") == "nameless", "cat of a descriptor")
    check(os.lseek(device, 0, os.SEEK_CUR) == 8, "cat moved another's position")
    os.close(reader)
    with contextlib.suppress(OSError):
        os.close(device)
    os.unlink(path("folder/b"))
    os.rmdir(path("folder"))
    clear()


@test
def throttle_sets_the_rate_of_those_who_write():
    ctl("create", "a")
    ctl("throttle", "a", "1M", status=NAME)
    writer = os.open(path("a"), os.O_WRONLY)
    rows = ctl_json("throttle", "a", "1M")
    check([(row["pid"], row["fd"], row["rate"]) for row in rows] == [(os.getpid(), writer, MIB)],
          rows)
    check(info(writer).rate_limit == MIB, "the handle has no rate")
    start = time.monotonic()
    os.write(writer, bytes(MIB // 2))
    seconds = time.monotonic() - start
    check(seconds > 0.3, f"half a second's bytes in {seconds:.2f} s")
    ctl("throttle", f"{os.getpid()}:{writer}", "none")
    check(info(writer).rate_limit == 0, "the rate stays")
    os.close(writer)
    clear()


@test
def watch_shows_rates():
    ctl("create", "a")
    with subprocess.Popen([TOOL, "--json", "watch", "a", "-i", "0.2", "-c", "5"], text=True,
                          stdout=subprocess.PIPE) as watch:
        rows = [json.loads(watch.stdout.readline())]
        with open(path("a"), "wb") as file:
            file.write(bytes(MIB))
        rows += [json.loads(line) for line in watch.stdout]
    check(watch.returncode == 0 and len(rows) == 5, rows)
    check(rows[0]["length"] == 0 and rows[-1]["length"] == MIB, rows)
    check(max(row["written_rate"] for row in rows) > MIB, rows)
    check(ctl("watch", "a", "-c", "1").count("\n") == 2, "watch for people")
    # It holds back nothing of a drained stream, and counts as nobody.
    check(all(row["readers"] == 0 for row in rows), rows)
    clear()


@test
def what_is_wrong_is_said_in_one_line():
    ctl("put", "a", input=b"state")
    error = json.loads(ctl("--json", "stat", "b", status=NAME))
    check(error["status"] == NAME and "b" in error["error"], error)
    ctl("stat", WORK + "/", status=NAME)
    ctl("stat", "/dev/null", status=NAME)
    ctl("stat", "/etc/passwd", status=NAME)
    ctl("stat", "", status=USAGE)
    ctl("stat", "999999999:3", status=NAME)
    ctl("stat", f"{os.getpid()}:0", status=NAME)
    ctl("limit", "a", "1Q", status=USAGE)
    ctl("--mount", WORK, "create", "b", status=NOT_SET_UP)
    ctl("inspect", "a", status=FORMAT)
    ctl("inspect", "/etc/passwd", status=FORMAT)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    check("permission" in ctl("stat", "a", status=PERMISSION, **nobody), "no word of permission")
    ctl("stat", f"{os.getpid()}:0", status=PERMISSION, **nobody)
    rows = ctl_json("list", **nobody)
    check(rows[0]["memory"] is None and rows[0]["length"] == 5, rows)
    # The output's reader goes away.
    ctl("put", "big", input=bytes(4 * MIB))
    with subprocess.Popen([TOOL, "cat", "big"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as cat:
        cat.stdout.read(10)
        cat.stdout.close()
        check(cat.stderr.read().count(b"\n") <= 1, "a broken pipe is more than one line")
    clear()


@test
def doctor_finds_a_machine_that_works():
    checks = {check["name"]: check for check in ctl_json("doctor")}
    check(all(row["verdict"] != "bad" for row in checks.values()), checks)
    check(checks["module"]["verdict"] == checks["mount"]["verdict"] == "ok", checks)
    check(checks["memory"]["verdict"] == "ok", checks)
    for line in ctl("doctor").splitlines():
        note(line)
    ctl("--mount", WORK, "doctor", status=NOT_SET_UP)


@test
def generate_writes_a_page_and_completions():
    folder = tempfile.mkdtemp()
    ctl("generate", folder)
    check(sorted(os.listdir(folder)) == ["_qemufilectl", "qemufilectl.1", "qemufilectl.bash",
                                         "qemufilectl.fish"], os.listdir(folder))
    with open(f"{folder}/qemufilectl.1", encoding="ascii") as file:
        page = file.read()
    for word in ("park", "EXIT STATUS", "130", "QEMUFILE_MOUNT"):
        check(word in page, f"no {word} in the page")
    script = "source $0/qemufilectl.bash; complete -p qemufilectl"
    result = subprocess.run(["bash", "-c", script, folder], capture_output=True, text=True)
    check("qemufilectl" in result.stdout, result.stderr)


# ---- QEMU

@test
def a_guest_is_parked_and_goes_on_elsewhere():
    with guest() as first:
        wait_for_lines(first.serial, 5, 60)
        parked = ctl_json("park", first.socket, "vm1", "--seal", "--quit")
        first.process.wait(30)
        check(first.process.returncode == 0, "park --quit")
        before = len(lines(first.serial))
        check(os.stat(path("vm1")).st_size == parked["bytes"] > 20 * MIB, parked)
        note(f"parked {parked['bytes']} bytes in {parked['seconds']:.2f} s")
        # A stream is loaded as often as one likes.
        for _ in range(2):
            with guest("-incoming", "defer", "-S") as second:
                restored = ctl_json("restore", second.socket, "vm1", "--cont")
                check(restored["running"] and restored["bytes"] == parked["bytes"], restored)
                second.counts_on()
                # The line that the first was within may be cut.
                number = int(lines(second.serial)[1])
                check(number == before + 2, f"{number} after {before}")
        note(f"loaded in {restored['seconds']:.2f} s")


@test
def inspect_agrees_with_qemu_and_with_the_bytes():
    have = ctl_json("inspect", "vm1", "--description")
    check(have["machine"].startswith("pc-i440fx-") and have["version"] == 3, have["machine"])
    check(have["comparison"]["differences"] == [], have["comparison"])
    check(have["comparison"]["described"] == len(have["devices"]) > 20, have["comparison"])
    check(have["bytes"] == os.stat(path("vm1")).st_size, "the length")
    names = [device["name"] for device in have["description"]["devices"]]
    check([device["name"] for device in have["devices"]] == names, names)
    ram = have["blocks"][0]
    check((ram["name"], ram["size"]) == ("pc.ram", 32 * MIB), ram)
    text = ctl("inspect", "vm1")
    check("each as in the stream" in text and "i8259" in text, text)
    # By a pipe, and what is cut off.
    data = read("vm1")
    check(ctl_json("inspect", "-", input=data)["devices"] == have["devices"], "of a pipe")
    for size in (3, 100, MIB, len(data) // 2, len(data) - 5):
        ctl("inspect", "-", input=data[:size], status=FORMAT)
    # A stopped guest sends each page once: all of them, as another parser counts them.
    with guest("-incoming", "defer", "-S") as qemu:
        ctl("restore", qemu.socket, "vm1")
        ctl("park", qemu.socket, "vm2")
    have = ctl_json("inspect", "vm2")
    pages = sum(block["pages"] + block["zero_pages"] for block in have["blocks"])
    other = stream.Stream(read("vm2"))
    check(pages == len(other.pages) >= 8192, f"{pages} pages, of {len(other.pages)}")
    os.unlink(path("vm2"))


@test
def a_mapped_ram_stream_is_inspected_too():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 2, 60)
        capability = {"capability": "mapped-ram", "state": True}
        qemu.qmp("migrate-set-capabilities", capabilities=[capability])
        ctl("park", qemu.socket, "vm2", "--stop")
        have = ctl_json("inspect", "vm2")
    check(have["capabilities"] == ["mapped-ram"], have["capabilities"])
    check(have["comparison"]["differences"] == [], have["comparison"])
    check(have["blocks"][0]["pages"] > 1000, have["blocks"])
    ctl("inspect", "-", input=read("vm2"), status=FORMAT)
    os.unlink(path("vm2"))


@test
def ctrl_c_in_a_park_leaves_the_guest_running_and_no_stream():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 3, 60)
        parameters = qemu.qmp("query-migrate-parameters")
        for stop in ([], ["--stop"]):
            with subprocess.Popen([TOOL, "park", qemu.socket, "new", "--rate", "2M", *stop],
                                  stderr=subprocess.PIPE, text=True) as tool:
                end = time.monotonic() + 60
                while qemu.qmp("query-migrate").get("ram", {}).get("transferred", 0) < MIB:
                    check(tool.poll() is None and time.monotonic() < end, "no migration begins")
                    time.sleep(0.05)
                check(not os.path.exists(path("new")), "a part has the name")
                tool.send_signal(signal.SIGINT)
                error = tool.communicate(timeout=60)[1]
            check(tool.returncode == INTERRUPTED, f"status {tool.returncode}: {error}")
            check("the guest runs on" in error and error.count("\n") == 1, error)
            check(qemu.running(), "the guest stands still")
            qemu.counts_on()
            check(qemu.qmp("query-migrate")["status"] == "cancelled", "the migration goes on")
            check(qemu.qmp("query-migrate-parameters") == parameters, "other parameters")
            check(qemu.qmp("query-fdsets") == [], "QEMU still has a descriptor")
            check(not os.path.exists(path("new")), "there is a stream")
        ctl("park", qemu.socket, "new")
        check(not qemu.running(), "it runs, and is saved")
        os.unlink(path("new"))


@test
def a_park_that_fails_leaves_the_guest_running():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 2, 60)
        ctl("park", qemu.socket, "vm1", status=NAME)
        ctl("park", qemu.socket, "no/such/folder", status=NOT_SET_UP)
        small = f"{WORK}/small"
        os.makedirs(small)
        subprocess.run(["mount", "-t", "qemufile", "-o", "size=4m", "qemufile", small], check=True)
        try:
            error = ctl("park", qemu.socket, f"{small}/vm", status=QEMU)
            check("the guest runs on" in error, error)
            check(os.listdir(small) == [], os.listdir(small))
        finally:
            subprocess.run(["umount", small], check=True)
        check(qemu.running(), "the guest stands still")
        qemu.counts_on()
        ctl("restore", qemu.socket, "vm1", status=QEMU)
        check(qemu.running(), "the guest stands still")
    ctl("park", qemu.socket, "vm9", status=QEMU)
    ctl("park", f"{WORK}/nothing", "vm9", status=QEMU)
    check(not os.path.exists(path("vm9")), "there is a stream")


@test
def a_restore_that_fails_says_what_qemu_says():
    ctl("put", "bad", input=read("vm1")[:MIB])
    ctl("put", "none", input=b"no guest")
    with guest("-incoming", "defer", "-S") as qemu:
        ctl("restore", qemu.socket, "none", status=FORMAT)
        ctl("park", qemu.socket, "vm9", status=QEMU)
        ctl("restore", qemu.socket, "bad", status=QEMU)
    clear()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    os.makedirs(MOUNT, exist_ok=True)
    subprocess.run(["mount", "-t", "qemufile", "-o", "size=1g", "qemufile", MOUNT], check=True)
    try:
        main()
    finally:
        subprocess.run(["umount", MOUNT])
