#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The examples of Documentation/user/remote.rst, between two network namespaces. The root of the test
machine has no ssh: socat is between the pipes.

Usage: remote.py IMAGE      (see tool.py)
"""

import hashlib
import os
import subprocess
import time

# pylint: disable=wrong-import-order
from tool import MIB, PROGRAMS, WORK, clear, ctl, ctl_json, guest, path, read, run
from park import lines, wait_for_lines
from tap import check, note, test

OTHER = "10.99.0.2"
LISTEN = "socat -u TCP-LISTEN:7000,reuseaddr"
SEND = f"socat -u STDIN TCP:{OTHER}:7000,retry=100,interval=0.1"
ENV = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}


def network():
    """Two namespaces with a cable between them: the one that we are in, and "other"."""
    for command in ("ip netns add other",
                    "ip link add here type veth peer name there netns other",
                    "ip addr add 10.99.0.1/24 dev here", "ip link set here up",
                    f"ip -n other addr add {OTHER}/24 dev there", "ip -n other link set there up",
                    "ip -n other link set lo up"):
        subprocess.run(command.split(), check=True)


def there(command):
    """Starts a command of a shell in the other namespace."""
    # "ip netns exec" would make a mount namespace, whose /sys is new: no need for that.
    return subprocess.Popen(["nsenter", "--net=/run/netns/other", "bash", "-o", "pipefail", "-ec",
                             command], env=ENV)


def here(command):
    subprocess.run(["bash", "-o", "pipefail", "-ec", command], env=ENV, check=True, timeout=120)


def ended(process):
    check(process.wait(120) == 0, f"{process.args}: status {process.returncode}")


def put(name, size):
    data = os.urandom(size)
    ctl("put", name, input=data)
    return data


@test
def a_stream_goes_through_a_pipe():
    data = put("vm1", 16 * MIB + 5)
    start = time.monotonic()
    other = there(f"{LISTEN} STDOUT | qemufilectl put vm2 && sha256sum {path('vm2')} >{WORK}/sum")
    here(f"qemufilectl cat vm1 | {SEND}")
    ended(other)
    check(read("vm2") == data, "other bytes")
    with open(f"{WORK}/sum", encoding="ascii") as file:
        check(file.read().split()[0] == hashlib.sha256(data).hexdigest(), "the sum")
    note(f"16 MiB, and their sum, in {time.monotonic() - start:.2f} s")
    clear()


@test
def a_stream_that_is_written_goes_on_its_way():
    data = os.urandom(4 * MIB)
    other = there(f"{LISTEN} STDOUT | qemufilectl put vm2")
    ctl("create", "--follow", "--drain", "--limit", "1M", "vm1")
    keeps = os.open(path("vm1"), os.O_WRONLY)
    with subprocess.Popen(["bash", "-o", "pipefail", "-ec",
                           f"qemufilectl cat --follow vm1 | {SEND}"], env=ENV) as cat:
        try:
            while ctl_json("stat", "vm1")["readers"] == 0:
                check(cat.poll() is None, "cat has ended")
            with open(path("vm1"), "wb", buffering=0) as writer:
                for at in range(0, len(data), 65536):
                    writer.write(data[at:at + 65536])
            check(ctl_json("stat", "vm1")["memory"] <= MIB, "it holds more than its limit")
        finally:
            os.close(keeps)
        ended(cat)
    ended(other)
    check(read("vm2") == data, "other bytes")
    clear()


@test
def a_stream_is_a_file_for_other_programs():
    data = put("vm1", 4 * MIB + 9)
    other = there(f"{LISTEN} OPEN:{path('vm2')},creat")
    here(f"socat -u FILE:{path('vm1')} TCP:{OTHER}:7000,retry=100,interval=0.1")
    ended(other)
    check(read("vm2") == data, "by socat alone: other bytes")
    # With a socket as its standard output: sendfile.
    other = there(f"{LISTEN} STDOUT | qemufilectl put vm3")
    here(f"socat TCP:{OTHER}:7000,retry=100,interval=0.1 EXEC:'qemufilectl cat vm1',nofork")
    ended(other)
    check(read("vm3") == data, "by sendfile: other bytes")
    # rsync, to a name of another folder.
    os.mkdir(f"{WORK}/guests")
    here(f"rsync --sparse {path('vm1')} {WORK}/guests/vm1")
    with open(f"{WORK}/guests/vm1", "rb") as file:
        check(file.read() == data, "by rsync: other bytes")
    clear()


@test
def an_increment_is_sent():
    put("vm.ram", 8 * MIB)
    ctl("clone", "vm.ram", "monday")
    ctl("clone", "monday", "copy")
    with open(path("vm.ram"), "r+b") as file:
        file.seek(3 * MIB)
        file.write(b"x" * 8192)
    ctl("clone", "vm.ram", "tuesday")
    other = there(f"{LISTEN} STDOUT | qemufilectl apply copy")
    here(f"qemufilectl diff monday tuesday --export - | {SEND}")
    ended(other)
    check(read("copy") == read("tuesday"), "other bytes")
    # The connection ends early: as it was.
    other = there(f"{LISTEN} STDOUT | qemufilectl apply copy")
    # The export may find that nobody reads on.
    here(f"(qemufilectl diff tuesday monday --export - || true) | head -c 5000 | {SEND}")
    check(other.wait(60) == 8, f"status {other.returncode}")
    check(read("copy") == read("tuesday"), "the stream has changed")
    clear()


@test
def a_guest_is_loaded_from_the_network():
    with guest() as first:
        wait_for_lines(first.serial, 5, 60)
        parked = ctl_json("park", first.socket, "vm1", "--quit")
        first.process.wait(30)
        before = len(lines(first.serial))
    with guest("-incoming", "tcp:0:7000", prefix=["nsenter", "--net=/run/netns/other"]) as second:
        start = time.monotonic()
        here(f"qemufilectl cat vm1 | {SEND}")
        second.counts_on()
        note(f"{parked['bytes']} bytes; the guest goes on after {time.monotonic() - start:.2f} s")
        check(int(lines(second.serial)[1]) == before + 2, lines(second.serial)[:2])
    clear()


if __name__ == "__main__":
    network()
    run()
