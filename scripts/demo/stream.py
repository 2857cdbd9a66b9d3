# SPDX-License-Identifier: GPL-2.0
"""Compares two migration streams that QEMU wrote of one stopped guest.

QEMU sends the memory in sections, and ends a section when 50 ms have passed: two
streams of one guest are the same, byte for byte, up to where the clock cut them.
So streams that differ are taken apart: the guest's pages by block and address,
and every other byte as it stands, the section marks alone left out.
"""

import re
import struct

START, PART, END, COMMAND, FOOTER = 1, 2, 3, 8, 0x7E
ZERO, MEM_SIZE, PAGE, EOS, CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
PAGE_SIZE = 4096


class Stream:
    """A stream taken apart: head, pages {(block, address): bytes}, tail, sections."""

    def __init__(self, data):
        self.data = data
        self.at = 0
        self.pages = {}
        self.sections = 0
        self.commands = b""
        self.block = None
        magic, version = self.take(">II")
        if (magic, version) != (0x5145564D, 3):
            raise ValueError("no migration stream")
        if self.data[self.at] == 7:  # the machine's name
            (length,) = self.take(">xI")
            self.at += length
        while self.data[self.at] in (START, PART, END, COMMAND):
            if self.data[self.at] == COMMAND:
                start = self.at
                (length,) = self.take(">xxxH")
                self.at += length
                self.commands += data[start:self.at]
            else:
                self.section()
        self.tail = data[self.at:]  # the devices: not a byte of it may differ

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def name(self):
        (length,) = self.take(">B")
        self.at += length
        return self.data[self.at - length:self.at]

    def section(self):
        kind, number = self.take(">BI")
        self.sections += 1
        if kind == START:
            name = self.name()
            self.take(">II")
            if name != b"ram":
                raise ValueError(f"a section of {name!r}")
        self.memory(kind == START)
        if self.take(">BI") != (FOOTER, number):
            raise ValueError(f"section {number} does not end at {self.at}")
        if kind == START:
            self.head = self.data[:self.at]

    def memory(self, first):
        while True:
            (word,) = self.take(">Q")
            address, flags = word & -PAGE_SIZE, word & (PAGE_SIZE - 1)
            if flags == EOS:
                return
            if flags & MEM_SIZE and first:
                left = address
                while left > 0:
                    self.name()
                    left -= self.take(">Q")[0]
                continue
            if not flags & CONTINUE:
                self.block = self.name()
            if flags & ZERO:
                page = self.take(">B")
            elif flags & PAGE:
                page = self.data[self.at:self.at + PAGE_SIZE]
                self.at += PAGE_SIZE
            else:
                raise ValueError(f"flags {flags:#x} before {self.at}")
            if (self.block, address) in self.pages:
                raise ValueError(f"page {address:#x} of {self.block!r} twice")
            self.pages[self.block, address] = page


def difference(have, want):
    """None if two streams are the same; else what differs, in words."""
    if have == want:
        return None
    a, b = Stream(have), Stream(want)
    if a.head != b.head or a.commands != b.commands:
        return "the head or the commands"
    if a.tail != b.tail:
        wrong = [i for i, (x, y) in enumerate(zip(a.tail, b.tail)) if x != y]
        names = re.findall(rb"[\w/:.-]{3,}", a.tail[:wrong[0]] if wrong else a.tail)
        return f"the devices' state, {len(wrong)} bytes, the first after {names[-1:]}"
    wrong = {key for key in a.pages.keys() | b.pages.keys() if a.pages.get(key) != b.pages.get(key)}
    if wrong:
        return f"{len(wrong)} of {len(b.pages)} pages, one at {min(wrong)[1]:#x}"
    return None
