#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs that know nothing of streams move 256 MiB: one has a writer's handle as its standard
output, one a reader's handle of the same stream as its standard input, at the same time."""

import os
import subprocess
import sys
import tempfile
import time

from device import info, open_pair
from tap import check, main, note, test

MIB = 1 << 20
SIZE = 256 * MIB
LIMIT = 4 * MIB
# What may be allocated beyond the limit: the page in which draining has got stuck, and the run of
# pages that a write has just taken.
SLACK = 68 * 1024
SECONDS = 120

WORK = tempfile.mkdtemp()
SOURCE = f"{WORK}/source"
TARGET = f"{WORK}/target"


def make_source():
    """Returns its checksum."""
    with open(SOURCE, "wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    return subprocess.run(["sha256sum", SOURCE], check=True, capture_output=True,
                          text=True).stdout.split()[0]


def is_source(path):
    return subprocess.run(["cmp", SOURCE, path]).returncode == 0


def move(writer, reader, limit=None):
    """Runs both commands; returns what the reader printed."""
    start = time.monotonic()
    reader_fd, writer_fd = open_pair(limit)
    with tempfile.TemporaryFile() as output:
        processes = [subprocess.Popen(reader, stdin=reader_fd, stdout=output),
                     subprocess.Popen(writer, stdin=subprocess.DEVNULL, stdout=writer_fd)]
        # Or the reader would never see the end. Its own file is looked at from here, too.
        os.close(writer_fd)
        most = 0
        try:
            while any(process.poll() is None for process in processes):
                most = max(most, info(reader_fd).allocated)
                check(time.monotonic() - start < SECONDS, f"no end after {SECONDS} s: "
                      f"{[process.args[0] for process in processes if process.poll() is None]}")
                time.sleep(0.01)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        output.seek(0)
        printed = output.read().decode()
    last = info(reader_fd)
    end = os.read(reader_fd, 1)
    os.close(reader_fd)
    note(f"{' '.join(writer)} | {' '.join(reader)}: {last.length} bytes, at most {most} in memory, "
         f"{time.monotonic() - start:.1f} s")
    for process in processes:
        check(process.returncode == 0, f"{process.args} ended with {process.returncode}")
    check(last.writers == 0 and end == b"", "the stream has not come to its end")
    check(last.position == last.length >= SIZE, f"{last.position} of {last.length} bytes were read")
    if limit is None:
        check(last.drained == 0 and most >= SIZE, "the stream does not hold what was written")
    else:
        check(most <= limit + SLACK, f"{most} bytes in memory, the limit is {limit}")
        check(last.allocated <= SLACK, f"{last.allocated} bytes in memory when all was read")
    return printed


def dd_to_sha256sum(limit=None):
    printed = move(["dd", f"if={SOURCE}", "bs=1M", "status=none"], ["sha256sum"], limit)
    check(printed.split()[0] == SUM, f"checksum {printed}")


def tar_to_tar(limit=None):
    directory = tempfile.mkdtemp(dir=WORK)
    move(["tar", "-C", WORK, "-cf", "-", "source"], ["tar", "-C", directory, "-xf", "-"], limit)
    check(is_source(f"{directory}/source"), "tar unpacked another file")
    os.unlink(f"{directory}/source")


def socat_to_socat(limit=None):
    move(["socat", "-u", "-b65536", f"OPEN:{SOURCE},rdonly", "STDOUT"],
         ["socat", "-u", "-b65536", "STDIN", f"CREATE:{TARGET}"], limit)
    check(is_source(TARGET), "socat wrote another file")
    os.unlink(TARGET)


@test
def dd_writes_what_sha256sum_reads():
    dd_to_sha256sum()


@test
def tar_unpacks_what_tar_packs():
    tar_to_tar()


@test
def socat_takes_what_socat_gives():
    socat_to_socat()


@test
def dd_writes_what_sha256sum_reads_in_bounded_memory():
    dd_to_sha256sum(LIMIT)


@test
def tar_unpacks_what_tar_packs_in_bounded_memory():
    tar_to_tar(LIMIT)


@test
def socat_takes_what_socat_gives_in_bounded_memory():
    socat_to_socat(LIMIT)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    SUM = make_source()
    main()
