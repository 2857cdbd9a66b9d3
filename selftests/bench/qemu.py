#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""QEMU saves a guest of 256 MiB and restores it, by a name on a mount of streams and by a file on
tmpfs in turn. Prints the benchmark's lines of JSON.

Usage: qemu.py ROUNDS [REGEX]

The guest's RAM has bytes in every page from the start, and the guest stands still. So nothing is
measured but the migration, from the monitor's command to QEMU's event that it is complete.
"""

import atexit
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import park

MIB = 1 << 20
RAM = 256 * MIB
CHANNELS = 4
DIRECTORIES = {"qemufile": "/run/bench-qemufile", "tmpfs": "/run/bench-tmpfs"}
# Of each way to migrate: what is said to QEMU's monitor.
MODES = {
    "fd:": [],
    "file:": [],
    "mapped-ram": ["mapped-ram"],
    f"mapped-ram, multifd, {CHANNELS} channels": ["mapped-ram", "multifd"],
}


class Qemu(park.Qemu):
    """A QEMU with a guest that has not begun; memory is where its RAM comes from."""

    # pylint: disable=super-init-not-called
    def __init__(self, name, memory, options=()):
        self.name = name
        ours, theirs = socket.socketpair()
        self.monitor = ours
        self.pending = b""
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-M", "pc,memory-backend=ram", "-accel", "tcg", "-m", str(RAM // MIB), "-S",
            "-object", f"{memory},id=ram,size={RAM}", "-rtc", "clock=vm",
            "-chardev", f"socket,id=mon,fd={theirs.fileno()}", "-mon", "chardev=mon,mode=control",
            *options,
        ]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()],
                                        stdin=subprocess.DEVNULL, stderr=park.STDERR)
        atexit.register(self.process.kill)
        theirs.close()
        self.receive()
        self.qmp("qmp_capabilities")
        self.enable("events")

    def set_mode(self, mode):
        for capability in ("mapped-ram", "multifd"):
            self.qmp("migrate-set-capabilities", capabilities=[
                {"capability": capability, "state": capability in MODES[mode]}])
        parameters = {"max-bandwidth": 1 << 40}
        if "multifd" in MODES[mode]:
            parameters["multifd-channels"] = CHANNELS
        self.qmp("migrate-set-parameters", **parameters)

    def move(self, command, uri, fd=None):
        """Migrates; returns the nanoseconds from the command to the event that ends it."""
        if fd is not None:
            self.qmp("getfd", fd=fd, fdname="state")
        request = {"execute": command, "arguments": {"uri": uri}}
        start = time.monotonic_ns()
        self.monitor.sendall(json.dumps(request).encode())
        while True:
            answer = self.receive()
            if "error" in answer:
                park.fail(f"{command} {uri}: {answer['error']['desc']}")
            status = answer.get("data", {}).get("status")
            if answer.get("event") == "MIGRATION" and status == "completed":
                return time.monotonic_ns() - start
            if answer.get("event") == "MIGRATION" and status == "failed":
                park.fail(f"{command} {uri}: failed: {self.qmp('query-migrate')}")


def make_ram(path):
    """Bytes that differ from page to page, so that no page is a page of zeros."""
    with open(path, "wb") as file:
        for _ in range(RAM // MIB):
            file.write(os.urandom(MIB))


def print_round(action, mode, peer, number, nanoseconds):
    if number > 0:
        print(json.dumps({"work": f"qemu, {action}, {mode}", "peer": peer, "round": number,
                          "ns": nanoseconds, "bytes": RAM}), flush=True)


def save_and_restore(source, mode, peer, number):
    path = f"{DIRECTORIES[peer]}/state"
    by_fd = mode == "fd:"
    uri = "fd:state" if by_fd else f"file:{path}"
    source.set_mode(mode)
    fd = os.open(path, os.O_RDWR | os.O_CREAT) if by_fd else None
    print_round("save", mode, peer, number, source.move("migrate", uri, fd))
    target = Qemu("target", "memory-backend-ram", ["-incoming", "defer"])
    target.set_mode(mode)
    if by_fd:
        os.close(fd)
        fd = os.open(path, os.O_RDONLY)
    print_round("restore", mode, peer, number, target.move("migrate-incoming", uri, fd))
    if by_fd:
        os.close(fd)
    target.quit()
    os.unlink(path)
    # QEMU migrates a guest again only if it has run in between: for a moment, in its firmware.
    source.qmp("cont")
    source.qmp("stop")


def main():
    rounds, wanted = int(sys.argv[1]), re.compile(sys.argv[2] if len(sys.argv) > 2 else "")
    modes = [mode for mode in MODES
             if any(wanted.search(f"qemu, {action}, {mode}") for action in ("save", "restore"))]
    if not modes:
        return
    for peer, directory in DIRECTORIES.items():
        os.makedirs(directory, exist_ok=True)
        subprocess.run(["mount", "-t", peer, "bench", directory], check=True)
        atexit.register(subprocess.run, ["umount", "--lazy", directory], check=False)
    with tempfile.NamedTemporaryFile(dir=DIRECTORIES["tmpfs"]) as ram:
        make_ram(ram.name)
        source = Qemu("source", f"memory-backend-file,mem-path={ram.name},share=off")
        for mode in modes:
            for number in range(rounds + 1):
                peers = list(DIRECTORIES)
                for peer in peers if number % 2 else peers[::-1]:
                    save_and_restore(source, mode, peer, number)
        source.quit()


if __name__ == "__main__":
    main()
