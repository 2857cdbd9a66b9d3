#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""QEMU's guest RAM is a stream, and a disk stores to it: virtio-blk with cache=none.

QEMU reads with O_DIRECT into the guest's RAM. While a read is in progress, the kernel has a
reference to the page, and the disk stores to it whatever the page tables say. A clone must not get
what is stored later, and the guest must.

Usage: guest_disk.py IMAGE      (the boot sector of the guest that reads)
"""

import os
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import fork
import park
from slow_disk import SlowDisk
from tap import check, main, note, test

IMAGE = sys.argv[1]
MOUNT = "/run/qemufile"
WORK = tempfile.mkdtemp()
# As in disk.S.
SECTORS, PAGES, BUFFER, PAGE = 4096, 32, 0x20000, 4096
MARK = b"\xff\xff\xff\xff"
UNUSED = bytes(4)


class Readers(fork.Family):
    """A guest that reads the disk, and its forks."""

    def start(self, name, **more):
        drive = f"file={DISK.path},format=raw,if=none,id=disk,read-only=on,cache=none,aio=threads"
        return super().start(name, options=["-drive", drive, "-device",
                                            "virtio-blk-pci,drive=disk"], **more)


def pages_of(path):
    """The pages that the guest reads into."""
    with open(path, "rb") as file:
        ram = os.pread(file.fileno(), PAGES * PAGE, BUFFER)
    return [ram[at:at + PAGE] for at in range(0, len(ram), PAGE)]


def is_known(page):
    """Whether each sector of a page is one of the disk, or marked, or was never used.

    The guest may be in the middle of marking the page, and the disk in the middle of storing to it:
    fork(2) copies such a page as it is, too."""
    for index in range(PAGE // 512):
        start = page[index * 512:index * 512 + 4]
        if start not in (MARK, UNUSED) and int.from_bytes(start, "little") % 8 != index:
            return False
    return True


def check_numbers(family, names):
    """Each guest has counted its reads, and found all that it has read."""
    for name in names:
        numbers = family.numbers(name)
        check(numbers == list(range(1, len(numbers) + 1)), f"the {name} printed {numbers[-3:]}")


@test
def a_clone_gets_nothing_of_a_read_that_ends_later():
    family = Readers(IMAGE, MOUNT, tempfile.mkdtemp(dir=WORK))
    park.wait_for_lines(family.serial("parent"), 5, 60)
    clones, in_progress = 0, 0
    while in_progress < 10:
        check(clones < 200, f"a read was in progress for only {in_progress} of {clones} clones")
        clones += 1
        name = f"snapshot{clones}"
        family.clone(name)
        before = pages_of(family.path(f"{name}.ram"))
        # Longer than a read takes.
        time.sleep(0.06)
        check(before == pages_of(family.path(f"{name}.ram")), "a clone has changed")
        check(all(is_known(page) for page in before), "a clone has what nobody has stored")
        in_progress += any(page.startswith(MARK) for page in before)
        os.unlink(family.path(f"{name}.ram"))
    park.wait_for_lines(family.serial("parent"), 2 * PAGES, 60)
    check_numbers(family, ["parent"])
    note(f"{in_progress} of {clones} clones of the guest's RAM were made during a read")
    family.quit()


@test
def forks_go_on_reading():
    family = Readers(IMAGE, MOUNT, tempfile.mkdtemp(dir=WORK))
    park.wait_for_lines(family.serial("parent"), PAGES, 60)
    for _ in range(2):
        family.fork(2)
    family.wait(PAGES, 120)
    check_numbers(family, ["parent"] + [name for name, _ in family.children])
    family.quit()


os.makedirs(MOUNT, exist_ok=True)
subprocess.run(["mount", "-t", "qemufile", "qemufile", MOUNT], check=True)
DISK = SlowDisk("qemufile-test", SECTORS, 20)
try:
    main()
finally:
    # A guest that is left after a failure has both open; the next program makes its own mount.
    subprocess.run(["umount", "--lazy", MOUNT], check=True)
    DISK.remove()
