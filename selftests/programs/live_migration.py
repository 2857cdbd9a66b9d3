#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A guest moves from one running QEMU to another through a stream, live: it counts, and writes its
memory, while one QEMU sends it and the other receives it.

Usage: live_migration.py IMAGE      (the boot sector made of dirty.S)
"""

import concurrent.futures
import os
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import park
from device import info, open_pair
from tap import check, main, note, test

MIB = 1 << 20
LIMIT = 4 * MIB
SLACK = 68 * 1024  # a page in which draining has got stuck, and the run that a write has taken
# The guest's 23 MiB take longer than a second, and it has that long to write to them. What it
# writes between two ticks can be sent within the 0.3 s that QEMU may stop it for.
BANDWIDTH = 16 * MIB
# Until the second QEMU reads along, if no limit makes the first one wait. The guest writes more
# than that: it stays where it is so long.
SLOW = MIB // 2
IMAGE = sys.argv[1]


def receive(serial, reader):
    """The QEMU on the other side; returns when it has the whole guest, which it does not run yet."""
    return park.Qemu("second", IMAGE, serial, incoming=f"fd:{reader}")


def numbers(serials):
    """What the guest printed: the second QEMU goes on within a line that the first began."""
    output = b""
    for serial in serials:
        with open(serial, "rb") as file:
            output += file.read()
    return output.split(b"\n")[:-1]


def migrate(limit=None):
    work = tempfile.mkdtemp()
    serials = [f"{work}/serial1", f"{work}/serial2"]
    first = park.Qemu("first", IMAGE, serials[0])
    park.wait_for_lines(serials[0], 5, 60)
    first.qmp("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH if limit else SLOW})

    reader, writer = open_pair(limit)
    most = beside = 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        second = pool.submit(receive, serials[1], reader)
        first.qmp("getfd", fd=writer, fdname="state")
        os.close(writer)  # the first QEMU alone has it now
        begun = len(park.lines(serials[0]))
        first.qmp("migrate", uri="fd:state")
        while True:
            status = first.qmp("query-migrate")["status"]
            now = info(reader)
            most = max(most, now.allocated)
            if beside <= MIB and first.qmp("query-status")["running"]:
                beside = now.position
                if beside > MIB:
                    first.qmp("migrate-set-parameters", **{"max-bandwidth": BANDWIDTH})
            if status in ("completed", "failed", "cancelled"):
                break
            if second.done():
                second.result()  # fails here if it has failed there
            time.sleep(0.01)
        result = first.wait_migration()
        second = second.result(timeout=60)

    # All that the first QEMU has written is read, and it has closed its handle.
    last = info(reader)
    check(os.read(reader, 1) == b"", "bytes were left over")
    check(last.writers == 0, "somebody has the stream open for writing")
    check(last.position == last.length, f"{last.position} of {last.length} bytes were read")
    os.close(reader)

    before = len(park.lines(serials[0]))
    second.qmp("cont")
    park.wait_for_lines(serials[1], 20, 60)
    second.qmp("stop")
    printed = numbers(serials)
    ram = result["ram"]
    note(f"{last.length} bytes, at most {most} in memory; {beside} read while the guest still "
         f"ran in the first QEMU; {ram['dirty-sync-count']} rounds, "
         f"{ram['normal']} pages, stopped for {result['downtime']} ms")
    note(f"the guest printed 1 to {begun} before, {begun + 1} to {before} while it was sent, "
         f"{before + 1} to {len(printed)} after")
    first.quit()
    second.quit()

    for expected, number in enumerate(printed, 1):
        check(number == b"%d" % expected, f"the guest printed {number!r} where {expected} was due")
    check(before > begun, "the guest did not run while it was sent")
    check(beside > MIB, "the second QEMU did not read while the guest ran in the first")
    check(len(printed) >= before + 20, "the guest did not go on")
    if limit is None:
        check(last.drained == 0 and most >= 20 * MIB, "the stream does not hold the guest")
    else:
        check(last.length > 5 * limit, "the guest is not larger than the limit")
        check(most <= limit + SLACK, f"{most} bytes in memory, the limit is {limit}")
        check(last.allocated <= SLACK, f"{last.allocated} bytes in memory when all was read")


@test
def a_running_guest_moves_through_a_stream():
    migrate()


@test
def a_running_guest_moves_through_a_stream_smaller_than_its_memory():
    migrate(LIMIT)


if __name__ == "__main__":
    main()
