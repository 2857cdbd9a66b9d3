# SPDX-License-Identifier: GPL-2.0
"""A disk whose reads take their time: dm-delay above a RAM disk.

There is no dmsetup in the test machine. These are the three calls of <linux/dm-ioctl.h> that are
needed. A read with O_DIRECT has its target pinned from the submission to the end, and dm-delay lies
between, so the data is stored late.
"""

import fcntl
import os
import struct
import subprocess

SECTOR = 512
DM_DEV_CREATE, DM_DEV_REMOVE, DM_DEV_SUSPEND, DM_TABLE_LOAD = 3, 4, 6, 9
# struct dm_ioctl, and struct dm_target_spec.
HEADER = struct.Struct("=3I3IiIIIQ128s129s7x")
TARGET = struct.Struct("=QQiI16s")


class SlowDisk:
    """A disk of some sectors, each of which begins with its own number."""

    def __init__(self, name, sectors, delay_ms):
        subprocess.run(["modprobe", "brd", "rd_nr=1", f"rd_size={sectors * SECTOR // 1024}"],
                       check=True)
        subprocess.run(["modprobe", "dm-delay"], check=True)
        with open("/dev/ram0", "wb") as ram:
            for number in range(sectors):
                ram.write(struct.pack("<I", number).ljust(SECTOR, b"."))
        self.name = name.encode()
        self.control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
        number = self.call(DM_DEV_CREATE)
        table = f"/dev/ram0 0 {delay_ms}".encode() + b"\0"
        self.call(DM_TABLE_LOAD, TARGET.pack(0, sectors, 0, 0, b"delay") + table.ljust(64, b"\0"))
        self.call(DM_DEV_SUSPEND)  # without the flag that says so, it resumes
        self.path = f"/dev/dm-{os.minor(number)}"

    def call(self, number, data=b""):
        """Returns the number of the device."""
        size = HEADER.size + len(data)
        header = HEADER.pack(4, 0, 0, size, HEADER.size, 1 if data else 0, 0, 0, 0, 0, 0, self.name,
                             b"")
        buffer = bytearray(header + data)
        fcntl.ioctl(self.control, 3 << 30 | HEADER.size << 16 | 0xfd << 8 | number, buffer)
        return HEADER.unpack_from(buffer)[10]

    def remove(self):
        """Nobody may have it open."""
        self.call(DM_DEV_REMOVE)
        os.close(self.control)
        subprocess.run(["rmmod", "brd"], check=True)
