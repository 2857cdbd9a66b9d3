#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""qemufilectl fork: a running guest whose RAM is a stream becomes many.

Usage: ctl_fork.py IMAGE      (see tool.py)
"""

import os
import signal
import subprocess
import time

# pylint: disable=wrong-import-order
from tool import (INTERRUPTED, MIB, NAME, PROGRAMS, QEMU, TOOL, USAGE, WORK, clear, ctl, ctl_json,
                  guest, path, qmp, run)
from park import lines, wait_for_lines
from tap import check, note, test

RAM = path("vm.ram")


def settings(qemu):
    return [qemu.qmp(f"query-{name}")
            for name in ("migrate-capabilities", "migrate-parameters", "fdsets", "status")]


def names():
    return sorted(name for name in os.listdir(path("")) if name != "vm.ram")


def of(forked, qemu):
    """The monitors of the forks, and what they have printed."""
    return [(fork["monitor"], f"{qemu.serial}.{fork['name']}") for fork in forked["forks"]]


def numbers(serial):
    """What a fork has printed, but for the line that its parent was within."""
    have = [int(line) for line in lines(serial)[1:]]
    check(have == list(range(have[0], have[0] + len(have))), f"{serial}: {have}")
    return have


def processes(word):
    """The numbers of the processes that have it in their command line."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", "rb") as file:
                if word.encode() in file.read():
                    found.append(number)
        except OSError:
            pass
    return found


def gone(paths):
    """Ends QEMUs, by their monitors."""
    for socket in paths:
        qmp(socket, "quit")
        while os.path.exists(socket):
            time.sleep(0.02)


@test
def forks_are_started_and_share_the_memory():
    with guest(ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        was, before = settings(qemu), len(lines(qemu.serial))
        start = time.monotonic()
        forked = ctl_json("fork", qemu.socket, "web", "2", "--start")
        seconds = time.monotonic() - start
        after = len(lines(qemu.serial))
        check(settings(qemu) == was, "the guest is not as before")
        want = ["web.1.ram", "web.2.ram", "web.state"]
        check(names() == want, names())
        check(forked["ram_bytes"] == 32 * MIB and 0 < forked["state_bytes"] < 2 * MIB, forked)
        note(f"the guest stood still for {forked['paused_ms']:.0f} ms, the state has "
             f"{forked['state_bytes']} bytes; two forks run after {seconds:.2f} s")
        for monitor, serial in of(forked, qemu):
            wait_for_lines(serial, 8, 60)
            check(before <= numbers(serial)[0] - 1 <= after + 1, (before, after, lines(serial)))
            check(qmp(monitor, "query-status")["running"], "a fork does not run")
        qemu.counts_on()
        held = [ctl_json("stat", name) for name in ("vm.ram", "web.1.ram", "web.2.ram")]
        private = sum(row["private"] for row in held)
        check(private < 4 * MIB and held[0]["shared"] > 20 * MIB, held)
        note(f"of their own, all three have {private} bytes; they share {held[0]['shared']}")
        # A fork is forked, by its own monitor.
        again = ctl_json("fork", forked["forks"][0]["monitor"], "deep", "1", "--start")
        serial = f"{qemu.serial}.web.1.deep.1"
        wait_for_lines(serial, 5, 60)
        numbers(serial)
        gone([monitor for monitor, _ in of(forked, qemu) + of(again, qemu)])
    clear()


@test
def the_printed_commands_start_the_forks():
    with guest(ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        script = ctl("fork", qemu.socket, "web", "1")
        for line in script.splitlines():
            note(line)
        check("stood still for" in script and "-incoming defer &" in script, script)
        forks = [f"{WORK}/web.1.qmp"]
        subprocess.run(["sh", "-e"], input=script.encode(), check=True, timeout=120,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"})
        for number, monitor in enumerate(forks, 1):
            wait_for_lines(f"{qemu.serial}.web.{number}", 5, 60)
            numbers(f"{qemu.serial}.web.{number}")
            check(qmp(monitor, "query-status")["running"], "a fork does not run")
        gone(forks)
    clear()


@test
def a_guest_that_stands_still_is_forked_and_stays_so():
    with guest(ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        qemu.qmp("stop")
        forked = ctl_json("fork", qemu.socket, "a", "1", "--start")
        check(forked["paused_ms"] is None, forked)
        monitor, serial = of(forked, qemu)[0]
        check(not qmp(monitor, "query-status")["running"], "the fork runs")
        qmp(monitor, "cont")
        wait_for_lines(serial, 5, 60)
        gone([monitor])
        check(not qemu.running(), "the guest runs")
        # QEMU saves such a guest once.
        check("'cont'" in ctl("fork", qemu.socket, "b", "1", status=QEMU), "no word of it")
        qemu.qmp("cont")
        qemu.counts_on()
        ctl("fork", qemu.socket, "b", "1")
    clear()


@test
def ctrl_c_in_a_fork_leaves_the_guest_running_and_no_stream():
    with guest(ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        was, ended = settings(qemu), []
        for step in range(4):
            start = ["--start"] if step % 2 else []
            with subprocess.Popen([TOOL, "fork", qemu.socket, "new", "2", *start],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True) as tool:
                # Without --start, while the guest stands still; with it, while the forks load.
                while tool.poll() is None and (
                        not os.path.exists(f"{WORK}/new.1.qmp") if start else qemu.running()):
                    time.sleep(0.005)
                time.sleep(step * 0.04)
                tool.send_signal(signal.SIGINT)
                error = tool.communicate(timeout=60)[1]
            ended.append(tool.returncode)
            check(settings(qemu) == was, "the guest is not as before")
            if tool.returncode == 0:
                if start:
                    gone([f"{WORK}/new.{number}.qmp" for number in (1, 2)])
                ctl("rm", "new.1.ram", "new.2.ram", "new.state")
            elif tool.returncode == INTERRUPTED:
                check("the guest runs on" in error and error.count("\n") == 1, error)
            else:
                check(False, f"status {tool.returncode}: {error}")
            check(names() == [], names())
            check(processes("new.1.ram") == [], "a fork runs on")
            check(not any(name.startswith("new") for name in os.listdir(WORK)), os.listdir(WORK))
        qemu.counts_on()
        note(f"statuses: {ended}")
        check(INTERRUPTED in ended, f"none was interrupted: {ended}")
    clear()


@test
def a_fork_that_fails_leaves_the_guest_running():
    with guest(ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        was = settings(qemu)
        ctl("fork", qemu.socket, "web", "0", status=USAGE)
        ctl("fork", qemu.socket, "web/", "1", status=USAGE)
        ctl("fork", qemu.socket, "web", "1", "--change", "x", status=USAGE)
        # A fork that does not start: QEMU's own words, and nothing stays.
        error = ctl("fork", qemu.socket, "web", "2", "--start", "--change", "isa-=no",
                    "--change", "floppy=nothing", status=QEMU)
        check("the guest runs on" in error and "nothing" in error, error)
        check(names() == [], names())
        made = [name for name in os.listdir(WORK)
                if name.startswith(os.path.basename(qemu.serial) + ".")]
        check(made == [], made)
        ctl("create", "web.2.ram")
        ctl("fork", qemu.socket, "web", "2", status=NAME)
        check(names() == ["web.2.ram"], names())
        ctl("rm", "web.2.ram")
        # There is no room for the state.
        figures = os.statvfs(path(""))
        full = os.open(path("full"), os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(full, 0, figures.f_bavail * figures.f_bsize - 65536)
        os.close(full)
        error = ctl("fork", qemu.socket, "web", "1", status=QEMU)
        check("the guest runs on" in error, error)
        ctl("rm", "full")
        check(names() == [] and settings(qemu) == was, names())
        qemu.counts_on()
        # Its name is another stream's by now.
        os.rename(RAM, path("old"))
        ctl("put", "vm.ram", input=bytes(MIB))
        check("has mapped" in ctl("fork", qemu.socket, "web", "1", status=QEMU), "no word of it")
        ctl("rm", "vm.ram")
        ctl("fork", qemu.socket, "web", "1", status=NAME)
        os.rename(path("old"), RAM)
        check(settings(qemu) == was, "the guest is not as before")
        qemu.counts_on()
    clear()
    for ram in (None, f"{WORK}/ram"):
        with guest(ram=ram) as qemu:
            ctl("fork", qemu.socket, "web", "1", status=QEMU if ram is None else NAME)
            check(qemu.running(), "the guest stands still")
    check(os.listdir(path("")) == [], os.listdir(path("")))


@test
def what_a_fork_needs_of_its_own_is_said():
    disk = f"{WORK}/disk.raw"
    with open(disk, "wb") as file:
        file.truncate(MIB)
    with guest("-drive", f"file={disk},format=raw,if=virtio", "-nic", "user,model=e1000",
               ram=RAM) as qemu:
        wait_for_lines(qemu.serial, 3, 60)
        text = ctl("fork", qemu.socket, "a", "1")
        check(text.count("# to be changed: ") == 2 and "an overlay" in text, text)
        with open(f"{WORK}/disk-1.raw", "wb") as file:
            file.truncate(MIB)
        forked = ctl_json("fork", qemu.socket, "b", "1", "--start", "-c", "disk.raw=disk-{}.raw")
        check(len(forked["notes"]) == 1 and "network" in forked["notes"][0], forked["notes"])
        check(any("disk-1.raw" in word for word in forked["forks"][0]["command"]), forked)
        gone([fork["monitor"] for fork in forked["forks"]])
    clear()


if __name__ == "__main__":
    run(size="192m")
