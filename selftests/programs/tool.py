# SPDX-License-Identifier: GPL-2.0
"""What the tests of qemufilectl share: the tool, a mount, and a QEMU with monitors.

PROGRAMS is the folder of the tool; the first argument is the boot sector of the demo's guest.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
from park import lines, wait_for_lines
from tap import check, main

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
    # A process that was ended may still have some.
    end = time.monotonic() + 10
    while (figures := os.statvfs(MOUNT)).f_blocks != figures.f_bfree and time.monotonic() < end:
        time.sleep(0.05)
    check(figures.f_blocks == figures.f_bfree, "an empty mount holds memory")


# ---- QEMU

def qmp(path_of, command, **arguments):
    """A command on a monitor that is free."""
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

    def __init__(self, *options, ram=None, prefix=()):
        Guest.number += 1
        base = f"{WORK}/guest-{Guest.number}"
        self.serial, self.socket, self.monitor = f"{base}.serial", f"{base}.qmp", f"{base}.test"
        with open(self.serial, "wb"):
            pass
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                   "-M", "pc", "-accel", "tcg", "-m", "32",
                   "-drive", f"file={IMAGE},format=raw,if=floppy,read-only=on",
                   "-serial", f"file:{self.serial}"]
        if ram:
            command += ["-M", "pc,memory-backend=ram", "-object", "memory-backend-file,id=ram,"
                        f"size=32M,share=on,mem-path={ram}"]
        for name in (self.socket, self.monitor):
            command += ["-qmp", f"unix:{name},server=on,wait=off"]
        self.process = subprocess.Popen([*prefix, *command, *options], stdin=subprocess.DEVNULL)
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
def guest(*options, **more):
    qemu = Guest(*options, **more)
    try:
        yield qemu
    finally:
        qemu.kill()


def run(size="1g"):
    """The tests of a program, on a mount."""
    sys.stdout.reconfigure(line_buffering=True)
    os.makedirs(MOUNT, exist_ok=True)
    subprocess.run(["mount", "-t", "qemufile", "-o", f"size={size}", "qemufile", MOUNT], check=True)
    try:
        main()
    finally:
        subprocess.run(["umount", MOUNT], check=False)
