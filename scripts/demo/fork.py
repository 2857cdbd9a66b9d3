# SPDX-License-Identifier: GPL-2.0
"""A running guest is forked: its RAM is a file, which is cloned, and each clone
is the RAM of another QEMU that takes up the state of the devices.

The file system of the files decides what that costs: on a mount of streams a
clone copies nothing; where there are no clones, as on tmpfs, the RAM is copied.
"""

import fcntl
import os
import shutil
import struct
import time

import park

FICLONE = 0x40049409
GET_USAGE = 0x8010EF07


class Family:
    """A guest and its forks, with the files that hold their RAM in a directory."""

    def __init__(self, image, directory, work, accel="tcg"):
        self.image, self.directory, self.work, self.accel = image, directory, work, accel
        self.parent = self.start("parent")
        self.parent.enable("x-ignore-shared")
        self.children = []
        # What was printed before the fork.
        self.before = 0

    def path(self, name):
        return f"{self.directory}/{name}"

    def serial(self, name):
        return f"{self.work}/{name}.serial"

    def start(self, name, **more):
        return park.Qemu(name, self.image, self.serial(name), ram=self.path(f"{name}.ram"),
                         accel=self.accel, **more)

    def clone(self, name, source="parent"):
        """Makes a file with the bytes of the RAM of source; returns the seconds that took."""
        with open(self.path(f"{source}.ram"), "rb") as one, \
                open(self.path(f"{name}.ram"), "wb") as other:
            start = time.monotonic()
            try:
                fcntl.ioctl(other, FICLONE, one.fileno())
            except OSError:
                shutil.copyfileobj(one, other, park.MIB)
            return time.monotonic() - start

    def fork(self, count):
        """Forks the parent, which runs again as soon as its state is saved and its RAM cloned.

        Returns the seconds that it stood still, those of the save of the devices' state, those of
        each clone, and those until all children run."""
        names = [f"child{i}" for i in range(len(self.children), len(self.children) + count)]
        start = time.monotonic()
        self.parent.qmp("stop")
        self.before = len(park.lines(self.serial("parent")))
        # The last line may not be complete.
        _, saving = self.parent.save(self.path("state"))
        clones = [self.clone(names[0])]
        self.parent.qmp("cont")
        pause = time.monotonic() - start
        # The rest are clones of the first: the parent's RAM changes again.
        for name in names[1:]:
            clones.append(self.clone(name, names[0]))
        for name in names:
            child = self.start(name, incoming="defer")
            child.enable("x-ignore-shared")
            child.qmp("migrate-incoming", uri=f"file:{self.path('state')}")
            child.wait_migration()
            self.children.append((name, child))
        for name, child in self.children[-count:]:
            child.qmp("cont")
        return pause, saving, clones, time.monotonic() - start

    def wait(self, count, seconds):
        """Waits until each guest has printed that many numbers since the fork."""
        park.wait_for_lines(self.serial("parent"), self.before + count, seconds)
        for name, _ in self.children:
            park.wait_for_lines(self.serial(name), count, seconds)

    def numbers(self, name):
        """All numbers that a guest has printed, a child's after those of its parent before."""
        with open(self.serial(name), "rb") as file:
            text = file.read()
        if name != "parent":
            with open(self.serial("parent"), "rb") as file:
                # The child begins where the parent had stopped, in the middle of a line even.
                text = self.printed_before(file.read(), text) + text
        return [int(line) if line.isdigit() else line.decode() for line in text.split(b"\n")[:-1]]

    @staticmethod
    def printed_before(parent, child):
        """What the parent had printed when it was forked: what makes the child's output whole."""
        for cut in range(len(parent) + 1):
            lines = (parent[:cut] + child).split(b"\n")[:-1]
            if all(line == b"%d" % number for number, line in enumerate(lines, 1)):
                return parent[:cut]
        return b"no such place\n"

    def usage(self):
        """Private bytes of all, and shared bytes of the one that has most."""
        private, shared = 0, 0
        for name in ["parent"] + [name for name, _ in self.children]:
            with open(self.path(f"{name}.ram"), "rb") as file:
                own, other = struct.unpack("=QQ", fcntl.ioctl(file, GET_USAGE, bytes(16)))
            private += own
            shared = max(shared, other)
        return private + shared

    def allocated(self):
        """What all hold if nothing is shared: what stat(2) tells."""
        names = ["parent"] + [name for name, _ in self.children]
        return sum(os.stat(self.path(f"{name}.ram")).st_blocks * 512 for name in names)

    def quit(self):
        for name, qemu in [("parent", self.parent)] + self.children:
            qemu.quit()
            os.unlink(self.path(f"{name}.ram"))
        if self.children:
            os.unlink(self.path("state"))


def demo(image, work):
    """One running guest becomes nine."""
    family = Family(image, park.MOUNT, work)
    park.wait_for_lines(family.serial("parent"), 20, 60)
    pause, _, clones, _ = family.fork(8)
    family.wait(10, 60)
    for name in ["parent"] + [name for name, _ in family.children]:
        for expected, number in enumerate(family.numbers(name), 1):
            if number != expected:
                park.fail(f"the {name} printed {number!r} where {expected} was due")
    held, copied = family.usage(), family.allocated()
    park.say(f"forked:   its RAM in {park.MOUNT}/parent.ram, cloned while it is mapped\n"
             f"          one running guest became nine; it stood still for {pause * 1e3:.0f} ms, of it "
             f"{clones[0] * 1e3:.1f} ms\n          for the clone of its RAM; all of them hold "
             f"{held / park.MIB:.0f} MiB, where nine would be {copied / park.MIB:.0f} MiB")
    family.quit()
