#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Typed calls and QEMU's own stream: what QEMU wrote is read with QEMUFILE_IOC_GET, written again
with QEMUFILE_IOC_PUT, and the bytes are the same.

Usage: typed_header.py IMAGE      (the boot sector of the demo's guest)
"""

import os
import sys
import tempfile

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import park
import stream
from device import DEVICE, typed
from tap import check, main, note, test

IMAGE = sys.argv[1]

# From QEMU's migration/savevm.c and migration/ram.c.
VM_FILE_MAGIC = 0x5145564D
VM_FILE_VERSION = 3
VM_SUBSECTION = 5
VM_CONFIGURATION = 7


class Reader:
    """Reads values of a stream one after the other, and keeps them as pairs for PUT."""

    def __init__(self, fd):
        self.fd = fd
        self.items = []

    def get(self, kind, length=None):
        item = typed(self.fd, "GET", [(kind, length)])[0]
        self.items.append(item)
        return item[1]

    def expect(self, kind, value):
        have = self.get(kind)
        check(have == value, f"{kind} {have:#x} where {value:#x} was due, after {self.items[:-1]}")

    def name(self):
        return self.get("buffer", self.get("byte"))

    def next_is(self, value):
        return typed(self.fd, "PEEK", [("byte", None)])[0][1] == value


def read_header(reader):
    """qemu_savevm_state_header: magic, version, and the section with the machine's name."""
    reader.expect("be32", VM_FILE_MAGIC)
    reader.expect("be32", VM_FILE_VERSION)
    reader.expect("byte", VM_CONFIGURATION)
    machine = reader.get("buffer", reader.get("be32"))
    check(machine.startswith(b"pc-i440fx-"), f"a machine {machine}")
    check(not reader.next_is(VM_SUBSECTION), "the configuration has a subsection")
    return machine


def read_section_header(reader):
    """save_section_header for a section with a name."""
    reader.expect("byte", stream.START)
    number = reader.get("be32")
    check(reader.name() == b"ram", "the first section is not the memory")
    reader.expect("be32", 0)  # the instance
    reader.expect("be32", 4)  # the version
    return number


def read_memory_blocks(reader, number):
    """ram_save_setup: the memory's size, and each block's name and size; then the footer."""
    word = reader.get("be64")
    check(word & stream.MEM_SIZE, f"{word:#x} where the memory's size was due")
    left = word & -stream.PAGE_SIZE
    blocks = 0
    while left > 0:
        reader.name()
        left -= reader.get("be64")
        blocks += 1
    reader.expect("be64", stream.EOS)
    reader.expect("byte", stream.FOOTER)
    reader.expect("be32", number)
    return blocks


def park_guest():
    serial = tempfile.mkdtemp() + "/serial"
    qemu = park.Qemu("only", IMAGE, serial)
    park.wait_for_lines(serial, 2, 60)
    qemu.qmp("stop")
    fd = os.open(DEVICE, os.O_RDWR)
    qemu.park(fd)
    qemu.quit()
    return fd


def compare(items, parked, length):
    """PUT of the items, in one call, makes the first `length` bytes of the parked stream."""
    fresh = os.open(DEVICE, os.O_RDWR)
    typed(fresh, "PUT", items)
    have = os.pread(fresh, length + 1, 0)
    want = os.pread(parked, length, 0)
    check(len(want) == length and have == want, f"put:  {have.hex()}\nQEMU: {want.hex()}")
    # The same bytes read as one vector, and not value by value.
    os.lseek(parked, 0, os.SEEK_SET)
    again = typed(parked, "GET", [(kind, len(value) if kind == "buffer" else None)
                                  for kind, value in items])
    check(again == items, f"get: {again}")
    os.close(fresh)


@test
def a_header_put_is_the_header_that_qemu_writes():
    os.lseek(PARKED, 0, os.SEEK_SET)
    reader = Reader(PARKED)
    machine = read_header(reader)
    read_section_header(reader)
    length = os.lseek(PARKED, 0, os.SEEK_CUR)
    note(f"machine {machine.decode()}: {len(reader.items)} values, {length} bytes")
    compare(reader.items, PARKED, length)


@test
def a_section_put_is_the_section_that_qemu_writes():
    os.lseek(PARKED, 0, os.SEEK_SET)
    reader = Reader(PARKED)
    read_header(reader)
    number = read_section_header(reader)
    blocks = read_memory_blocks(reader, number)
    length = os.lseek(PARKED, 0, os.SEEK_CUR)
    note(f"section {number} with {blocks} memory blocks: {len(reader.items)} values, {length} bytes")
    compare(reader.items, PARKED, length)


if __name__ == "__main__":
    PARKED = park_guest()
    main()
