#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""qemufilectl diff and apply: incremental saves.

Usage: ctl_diff.py IMAGE      (see tool.py)
"""

import ctypes
import mmap
import os
import signal
import subprocess
import time

# pylint: disable=wrong-import-order
from tool import (FORMAT, INTERRUPTED, MIB, MOUNT, NAME, PERMISSION, ROOM, TOOL, USAGE, WORK, clear,
                  ctl, ctl_json, guest, path, read, run)
from park import wait_for_lines
from tap import check, note, test

FILE = f"{WORK}/increment"
PAGE = 4096


def punch(name, start, length):
    fd = os.open(path(name), os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.fallocate(fd, 3, ctypes.c_long(start), ctypes.c_long(length))
    check(result == 0, os.strerror(ctypes.get_errno()))
    os.close(fd)


def write(name, start, data):
    fd = os.open(path(name), os.O_RDWR)
    os.pwrite(fd, data, start)
    os.close(fd)


def two_streams():
    """a and b, a clone of a that was changed: stored to, made longer, and with a hole."""
    ctl("put", "a", input=os.urandom(4 * MIB + 100))
    ctl("clone", "a", "b")
    write("b", 10 * PAGE, b"x" * 5000)
    punch("b", MIB, MIB)
    os.truncate(path("b"), 8 * MIB + 7)
    write("b", 8 * MIB, b"the end")


def export():
    if os.path.exists(FILE):
        os.unlink(FILE)
    return ctl_json("diff", "a", "b", "--export", FILE)


@test
def diff_shows_what_was_written():
    two_streams()
    have = ctl_json("diff", "a", "b")
    check((have["a_length"], have["b_length"]) == (4 * MIB + 100, 8 * MIB + 7), have)
    extents = [(row["start"], row["length"], row["kind"]) for row in have["extents"]]
    # Pages, and at most the whole of a piece of 64 KiB that was written.
    check(extents[0][2] == "data" and extents[0][0] <= 10 * PAGE, extents)
    check(extents[0][0] + extents[0][1] >= 12 * PAGE, extents)
    check((MIB, MIB, "hole") in extents, extents)
    check(extents[-1][2] == "data" and sum(extents[-1][:2]) == 8 * MIB + 7, extents)
    check(have["bytes"] == sum(row["length"] for row in have["extents"]) < 2 * MIB, have)
    text = ctl("diff", "a", "b")
    check("hole" in text and "A has 4194404 bytes" in text and "differ" in text, text)
    check(ctl("diff", "a", "a") == "0 B differ\n", ctl("diff", "a", "a"))
    ctl("diff", "a", "c", status=NAME)
    clear()


@test
def an_increment_makes_b_of_a():
    two_streams()
    have = export()
    check(have["exported"] < 400 * 1024, have)
    check(os.path.getsize(FILE) < have["exported"] + 1024, os.path.getsize(FILE))
    ctl("clone", "a", "c")
    ctl("apply", "c", FILE)
    check(read("c") == read("b"), "other bytes")
    check(ctl_json("stat", "c")["memory"] <= ctl_json("stat", "b")["memory"], "a hole was filled")
    # The other way round, by pipes: shorter, and the hole is filled again.
    with subprocess.Popen([TOOL, "diff", "b", "a", "--export", "-"],
                          stdout=subprocess.PIPE) as diff:
        subprocess.run([TOOL, "apply", "c"], stdin=diff.stdout, check=True, timeout=60)
    check(diff.returncode == 0 and read("c") == read("a"), "other bytes, by a pipe")
    clear()


@test
def the_target_may_be_mapped_and_open():
    two_streams()
    export()
    ctl("clone", "a", "c")
    inode = os.stat(path("c")).st_ino
    with open(path("c"), "r+b") as file:
        memory = mmap.mmap(file.fileno(), 4 * MIB)
        check(memory[10 * PAGE:10 * PAGE + 5000] != b"x" * 5000, "the bytes are there already")
        ctl("apply", "c", FILE)
        check(memory[10 * PAGE:10 * PAGE + 5000] == b"x" * 5000, "the mapping has old bytes")
        check(memory[MIB:2 * MIB] == bytes(MIB), "the mapping has no hole")
        check(file.read() == read("b"), "the open file has other bytes")
        memory.close()
    check(os.stat(path("c")).st_ino == inode, "another file")
    clear()


@test
def what_is_cut_or_damaged_changes_nothing():
    two_streams()
    export()
    with open(FILE, "rb") as file:
        data = file.read()
    before = read("a")
    for size in (0, 7, 31, 40, 60, len(data) // 2, len(data) - 30, len(data) - 1):
        error = ctl("apply", "a", input=data[:size], status=FORMAT)
        check("nothing was changed" in error, error)
        check(read("a") == before, f"cut at {size}: the stream has changed")
    for at in (3, 33, 36, len(data) // 3, len(data) - 2):
        bad = bytearray(data)
        bad[at] ^= 1
        ctl("apply", "a", input=bytes(bad), status=FORMAT)
        check(read("a") == before, f"wrong at {at}: the stream has changed")
    ctl("apply", "a", input=data + b"more", status=FORMAT)
    ctl("apply", "a", path("b"), status=FORMAT)
    ctl("apply", "b", FILE, status=FORMAT)
    ctl("apply", "c", FILE, status=NAME)
    ctl("apply", "a", f"{WORK}/nothing", status=NAME)
    ctl("diff", "a", "b", "--export", FILE, status=NAME)
    ctl("diff", "a", "b", "--export", f"{WORK}/no/such", status=NAME)
    ctl("diff", "a", "b", "--export", "/dev/full", status=ROOM)
    small = f"{WORK}/small"
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "small", small], check=True)
    ctl("diff", "a", "b", "--export", f"{small}/increment", status=ROOM)
    check(os.listdir(small) == [], os.listdir(small))
    subprocess.run(["umount", small], check=True)
    descriptor = os.open("/dev/qemufile", os.O_RDWR)
    ctl("apply", f"{os.getpid()}:{descriptor}", FILE, status=USAGE)
    os.close(descriptor)
    ctl("clone", "a", "sealed")
    ctl("seal", "sealed")
    ctl("apply", "sealed", FILE, status=PERMISSION)
    # The reader of a pipe ends, with the bytes that it has.
    with subprocess.Popen([TOOL, "apply", "a"], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=False) as tool:
        tool.stdin.write(data[:-10])
        tool.stdin.flush()
        time.sleep(1)
        tool.send_signal(signal.SIGINT)
        # It waits for more: the signal is seen with it.
        tool.stdin.write(data[-10:-1])
        error = tool.communicate(timeout=60)[1]
    check(tool.returncode in (INTERRUPTED, FORMAT), f"status {tool.returncode}: {error}")
    check(read("a") == before, "the stream has changed")
    ctl("apply", "a", FILE)
    check(read("a") == read("b"), "the good one was refused")
    clear()


@test
def where_there_is_no_room_nothing_is_changed():
    ctl("put", "a", input=bytes(PAGE))
    ctl("clone", "a", "b")
    write("b", 0, os.urandom(8 * MIB))
    export()
    before = read("a")
    figures = os.statvfs(MOUNT)
    full = os.open(path("full"), os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(full, 0, figures.f_bavail * figures.f_bsize - MIB)
    os.close(full)
    ctl("apply", "a", FILE, status=ROOM)
    check(read("a") == before, "the stream has changed")
    ctl("rm", "full")
    ctl("apply", "a", FILE)
    check(read("a") == read("b"), "other bytes")
    clear()


@test
def snapshots_of_a_guest_that_runs_are_saved_by_increments():
    ram = path("vm.ram")
    with guest(ram=ram) as qemu:
        wait_for_lines(qemu.serial, 5, 60)
        ctl("clone", "vm.ram", "a")
        qemu.counts_on()
        ctl("clone", "vm.ram", "b")
        have = export()
        check(0 < have["exported"] < MIB, have)
        note(f"of 32 MiB of RAM, {have['exported']} bytes had changed")
        ctl("apply", "a", FILE)
        check(read("a") == read("b"), "other bytes")
    clear()


if __name__ == "__main__":
    run(size="192m")
