#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""qemufilectl, and the crate under it, on streams.

Usage: ctl.py IMAGE      (see tool.py)
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time

from device import DEVICE, call, info
from tap import check, note, test
from tool import (FORMAT, MIB, MOUNT, NAME, NOT_SET_UP, PERMISSION, PROGRAMS, ROOM, TOOL, USAGE,
                  WORK, clear, ctl, ctl_json, path, read, run)


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
def what_clones_share_is_told_from_their_own():
    ctl("put", "a", input=os.urandom(4 * MIB))
    have = ctl_json("stat", "a")
    check((have["private"], have["shared"]) == (4 * MIB, 0), have)
    ctl("clone", "a", "b")
    with open(path("b"), "r+b") as file:
        file.write(bytes(MIB))
    rows = {row["path"]: row for row in ctl_json("list")}
    for name in ("a", "b"):
        row = rows[path(name)]
        check(row["private"] + row["shared"] == row["memory"] == 4 * MIB, row)
        check(MIB <= row["private"] <= MIB + 65536, row)
        check(ctl_json("stat", name)["private"] == row["private"], "stat differs from list")
    check("OWN" in ctl("list") and "own: " in ctl("stat", "b"), ctl("list"))
    clear()
    # And of those without names, as the kernel tells for others.
    device = os.open(DEVICE, os.O_RDWR)
    os.write(device, bytes(MIB))
    other = call(device, "CLONE", mode=1)
    rows = [row for row in ctl_json("list") if row["descriptor"]]
    check([(row["private"], row["shared"]) for row in rows] == [(0, MIB)] * 2, rows)
    os.close(other)
    os.close(device)


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


if __name__ == "__main__":
    run()
