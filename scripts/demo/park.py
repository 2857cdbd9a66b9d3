#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The demo, inside the virtual machine: a running QEMU parks its state in a
stream, by its path, and goes away; another QEMU takes it up and the guest goes
on. The same is done once more with a stream of /dev/qemufile.

Anything that is not as it should be ends with a message and status 1.
"""

import argparse
import atexit
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

import fork
import stream

MIB = 1 << 20
MOUNT = "/run/qemufile"
RAM = 64 * MIB  # of a guest whose RAM is a file
FICLONE = 0x40049409


STDERR = tempfile.TemporaryFile(mode="w+")  # of all the QEMUs


def fail(text):
    complaints()
    sys.exit(f"demo: FAILED: {text}")


def complaints():
    """What the QEMUs had to say; but that fd: is no longer meant for files is
    known, and file: would truncate its file first, which no device can do."""
    STDERR.seek(0)
    for line in STDERR:
        if "migration to a file is deprecated" not in line:
            sys.stderr.write(line)


def say(text):
    print(text, flush=True)


class Qemu:
    """A QEMU process with one guest, and its QMP monitor on a socket pair.

    ram is the file that holds the guest's RAM, shared with whoever maps it."""

    def __init__(self, name, image, serial, incoming=None, ram=None, accel="tcg", options=()):
        self.name = name
        ours, theirs = socket.socketpair()
        self.monitor = ours
        self.pending = b""
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-M", "pc" if ram is None else "pc,memory-backend=ram", "-accel", accel,
            "-m", "32" if ram is None else str(RAM // MIB),
            # With the host's clock the state would hold the second of its writing.
            "-rtc", "clock=vm",
            "-drive", f"file={image},format=raw,if=floppy,read-only=on",
            "-chardev", f"file,id=serial,path={serial}", "-serial", "chardev:serial",
            "-chardev", f"socket,id=mon,fd={theirs.fileno()}", "-mon", "chardev=mon,mode=control",
        ]
        if ram is not None:
            command += ["-object",
                        f"memory-backend-file,id=ram,mem-path={ram},size={RAM},share=on"]
        command += options
        fds = [theirs.fileno()]
        if incoming is not None:
            command += ["-incoming", incoming, "-S"]
            fds += [int(fd) for fd in re.findall(r"^fd:(\d+)$", incoming)]
        start = time.monotonic()
        self.process = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL,
                                        stderr=STDERR)
        atexit.register(self.process.kill)
        theirs.close()
        self.receive()  # the greeting
        self.qmp("qmp_capabilities")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        if incoming not in (None, "defer"):
            self.wait_migration()
            self.loaded = time.monotonic() - start

    def receive(self):
        while b"\n" not in self.pending:
            data = self.monitor.recv(65536)
            if not data:
                fail(f"the {self.name} QEMU closed its monitor (status {self.process.wait()})")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def qmp(self, command, fd=None, **arguments):
        request = json.dumps({"execute": command, "arguments": arguments}).encode()
        if fd is None:
            self.monitor.sendall(request)
        else:
            socket.send_fds(self.monitor, [request], [fd])
        while True:
            answer = self.receive()
            if "error" in answer:
                fail(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def enable(self, *capabilities):
        self.qmp("migrate-set-capabilities",
                 capabilities=[{"capability": name, "state": True} for name in capabilities])

    def wait_migration(self):
        while True:
            info = self.qmp("query-migrate")
            status = info.get("status")
            if status == "completed":
                return info
            if status in ("failed", "cancelled"):
                fail(f"migration {status}: {info.get('error-desc', 'no reason given')}")
            time.sleep(0.02)

    def park(self, fd):
        """Writes the state of the stopped guest to fd; returns bytes and seconds."""
        self.qmp("getfd", fd=fd, fdname="state")
        start = time.monotonic()
        self.qmp("migrate", uri="fd:state")
        self.wait_migration()
        return os.lseek(fd, 0, os.SEEK_CUR), time.monotonic() - start

    def save(self, path):
        """The same to an ordinary file; returns bytes and seconds."""
        start = time.monotonic()
        self.qmp("migrate", uri=f"file:{path}")
        self.wait_migration()
        return os.stat(path).st_size, time.monotonic() - start

    def quit(self):
        self.monitor.sendall(b'{"execute": "quit"}')
        if self.process.wait(30) != 0:
            fail(f"the {self.name} QEMU ended with status {self.process.returncode}")
        self.monitor.close()


def lines(path):
    with open(path, "rb") as serial:
        return serial.read().split(b"\n")[:-1]


def wait_for_lines(path, count, seconds):
    end = time.monotonic() + seconds
    while len(lines(path)) < count:
        if time.monotonic() > end:
            fail(f"the guest printed {len(lines(path))} numbers in {seconds} s, not {count}")
        time.sleep(0.05)


def compare(fd, size, path):
    """fd has to hold the state that QEMU wrote to the file, and end where it ends."""
    os.lseek(fd, 0, os.SEEK_SET)
    have = b""
    while data := os.read(fd, MIB):
        have += data
    with open(path, "rb") as file:
        want = file.read()
    if len(have) != size:
        fail(f"the stream gave back {len(have)} of {size} bytes")
    try:
        wrong = stream.difference(have, want)
    except (ValueError, IndexError, struct.error) as error:
        wrong = f"one of them is broken: {error}"
    if wrong:
        fail(f"{path}, an ordinary file, differs from the parked stream: {wrong}")
    if have == want:
        return f"all {size} bytes are the same"
    return (f"{len(stream.Stream(have).pages)} pages and all else are the same; only QEMU's clock "
            "cut the memory into sections elsewhere")


def kernel():
    with open("/proc/version", encoding="ascii") as file:
        version = file.read()
    with open("/vm/kernel.env", encoding="ascii") as file:
        taken = dict(re.findall(r"^(\w+)='?([^'\n]*)'?$", file.read(), re.M))
    release = os.uname().release
    say(f"kernel:   {release}, Debian's package {taken['KERNEL_PACKAGE']} "
        f"{taken['KERNEL_VERSION']}, unmodified")
    if release != taken["KERNEL_RELEASE"] or taken["KERNEL_VERSION"] not in version:
        fail(f"this is another kernel: {version}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the guest's boot sector")
    parser.add_argument("--device", default="/dev/qemufile")
    options = parser.parse_args()

    kernel()
    work = tempfile.mkdtemp()
    serials = [f"{work}/serial1", f"{work}/serial2"]
    os.makedirs(MOUNT, exist_ok=True)
    subprocess.run(["mount", "-t", "qemufile", "qemufile", MOUNT], check=True)
    atexit.register(subprocess.run, ["umount", "--lazy", MOUNT])
    say(f"mounted:  mount -t qemufile qemufile {MOUNT}")

    # The main job: one QEMU parks the guest, another takes it up.
    first = Qemu("first", options.image, serials[0])
    say(f"guest:    runs in QEMU ({first.qmp('query-version')['package']}); "
        "it counts in its memory and prints each number")
    wait_for_lines(serials[0], 20, 60)
    first.qmp("stop")
    size, seconds = first.save(f"{MOUNT}/vm1")
    first.quit()
    before = lines(serials[0])
    say(f"parked:   (qemu) migrate file:{MOUNT}/vm1\n          {size} bytes ({size / MIB:.1f} MiB) "
        f"in {seconds:.2f} s, {size / MIB / seconds:.0f} MiB/s; that QEMU is gone")
    if size < 20 * MIB:
        fail(f"{size} bytes cannot be the guest's memory")

    subprocess.run(["cp", "--reflink=always", f"{MOUNT}/vm1", f"{MOUNT}/vm2"], check=True)
    with open(f"{MOUNT}/vm1", "rb") as source, open(f"{MOUNT}/vm3", "wb") as target:
        start = time.monotonic()
        fcntl.ioctl(target, FICLONE, source.fileno())
        seconds = time.monotonic() - start
    say(f"cloned:   cp --reflink=always {MOUNT}/vm1 {MOUNT}/vm2\n"
        f"          the call that it is about took {seconds * 1e6:.0f} us; no byte was copied")
    second = Qemu("second", options.image, serials[1], incoming=f"file:{MOUNT}/vm2")
    say(f"taken up: qemu-system-x86_64 ... -incoming file:{MOUNT}/vm2\n"
        f"          by a second QEMU, started and loaded in {second.loaded:.2f} s")

    # It has not run the guest yet: what it writes to a file is the same state.
    second.save(f"{work}/file1")
    parked = os.open(f"{MOUNT}/vm2", os.O_RDONLY)
    result = compare(parked, size, f"{work}/file1")
    os.close(parked)
    say(f"compared: with what QEMU writes to an ordinary file:\n          {result}")

    second.qmp("cont")
    wait_for_lines(serials[1], 20, 60)
    second.qmp("stop")
    after = lines(serials[1])

    # The guest may have been stopped within a line: only the two outputs
    # together are whole. They have to be 1, 2, 3, ... with nothing amiss.
    output = b""
    for serial in serials:
        with open(serial, "rb") as file:
            output += file.read()
    numbers = output.split(b"\n")[:-1]
    for expected, number in enumerate(numbers, 1):
        if number != str(expected).encode():
            fail(f"the guest printed {number!r} where {expected} was due")
    last = len(before)
    say(f"counter:  {last} before, {last + 1} after; it printed 1 to {len(numbers)}, "
        f"{len(after)} of them in the second QEMU; none skipped, none twice")

    # The comparison again, the other way round, so that a byte which the device
    # got wrong when it was written cannot hide in both: file first, then device.
    # So slow that QEMU cuts the memory by bytes, and not by the clock.
    slow = {"max-bandwidth": 20 * MIB, "downtime-limit": 0}
    second.qmp("migrate-set-parameters", **slow)
    size, _ = second.save(f"{work}/file2")
    second.quit()
    third = Qemu("third", options.image, f"{work}/serial3", incoming=f"file:{work}/file2")
    parked = os.open(options.device, os.O_RDWR)
    third.qmp("migrate-set-parameters", **slow)
    size, _ = third.park(parked)
    third.quit()
    result = compare(parked, size, f"{work}/file2")
    os.close(parked)
    say(f"again:    stopped, written to a file, loaded from it, parked in {options.device}:\n"
        f"          {result}")
    complaints()
    fork.demo(options.image, work)
    say("demo: the guest went on where it had stopped")


if __name__ == "__main__":
    main()
