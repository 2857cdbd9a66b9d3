#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs that know nothing of streams use them by their names: QEMU, cp, rsync, tar, dd, tail and
a shell, on a mounted file system of streams.

Usage: by_path.py IMAGE      (the boot sector of the demo's guest)
"""

import os
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/demo"))

# pylint: disable=wrong-import-position
import park
from device import abi, call, info
from tap import check, main, note, test

MIB = 1 << 20
SIZE = 32 * MIB
IMAGE = sys.argv[1]
MOUNT = "/run/qemufile"
WORK = tempfile.mkdtemp()


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def shell(text, **more):
    return run("sh", "-euc", text, cwd=MOUNT, timeout=60, **more)


def space():
    """The bytes in use of the mount."""
    figures = os.statvfs(MOUNT)
    return (figures.f_blocks - figures.f_bfree) * figures.f_frsize


def clear():
    shell("rm -rf -- *")
    check(space() == 0, f"{space()} bytes are left in an empty mount")


def same(one, other):
    return subprocess.run(["cmp", one, other]).returncode == 0


# ---- QEMU

def guest(path, seconds=60, capabilities=(), **parameters):
    """A guest that counts is saved to a name by one QEMU and started from it by another."""
    serials = [tempfile.mktemp(dir=WORK) for _ in range(2)]
    enabled = [{"capability": name, "state": True} for name in capabilities]

    def set_up(qemu):
        if enabled:
            qemu.qmp("migrate-set-capabilities", capabilities=enabled)
        if parameters:
            qemu.qmp("migrate-set-parameters", **parameters)

    first = park.Qemu("first", IMAGE, serials[0])
    set_up(first)
    park.wait_for_lines(serials[0], 20, seconds)
    first.qmp("stop")
    _, saving = first.save(path)
    first.quit()
    held = os.stat(path).st_blocks * 512

    second = park.Qemu("second", IMAGE, serials[1], incoming="defer")
    set_up(second)
    start = time.monotonic()
    second.qmp("migrate-incoming", uri=f"file:{path}")
    second.wait_migration()
    loading = time.monotonic() - start
    second.qmp("cont")
    park.wait_for_lines(serials[1], 20, seconds)
    second.quit()
    output = b""
    for serial in serials:
        with open(serial, "rb") as file:
            output += file.read()
    for expected, number in enumerate(output.split(b"\n")[:-1], 1):
        check(number == b"%d" % expected, f"the guest printed {number!r} where {expected} was due")
    note(f"{os.stat(path).st_size} bytes, {held} in memory: saved in {saving:.2f} s, "
         f"loaded in {loading:.2f} s")
    os.unlink(path)
    check(space() == 0, "the name is gone, and its memory is not")


@test
def qemu_saves_to_a_name_and_starts_from_it():
    guest(f"{MOUNT}/vm1")


@test
def qemu_saves_with_mapped_ram():
    guest(f"{MOUNT}/vm1", capabilities=["mapped-ram"])


@test
def qemu_saves_with_mapped_ram_by_four_threads():
    guest(f"{MOUNT}/vm1", capabilities=["mapped-ram", "multifd"], **{"multifd-channels": 4})


@test
def qemu_saves_with_mapped_ram_and_direct_io():
    guest(f"{MOUNT}/vm1", capabilities=["mapped-ram", "multifd"],
          **{"multifd-channels": 4, "direct-io": True})


@test
def a_guest_is_started_from_copies_of_one_state():
    serials = [f"{WORK}/serial-{i}" for i in range(4)]
    first = park.Qemu("first", IMAGE, serials[0])
    park.wait_for_lines(serials[0], 10, 60)
    first.qmp("stop")
    first.save(f"{MOUNT}/vm1")
    first.quit()
    before = len(park.lines(serials[0]))
    copies = [f"{MOUNT}/vm{i}" for i in range(2, 5)]
    for copy in copies:
        run("cp", "--reflink=always", f"{MOUNT}/vm1", copy)
    for copy, serial in zip(copies, serials[1:]):
        qemu = park.Qemu("next", IMAGE, serial, incoming=f"file:{copy}")
        qemu.qmp("cont")
        park.wait_for_lines(serial, 5, 60)
        qemu.quit()
        # The line that the first was within may be cut.
        check(int(park.lines(serial)[1]) == before + 2, f"{park.lines(serial)[:3]} after {before}")
    clear()


@test
def a_live_guest_moves_by_a_path():
    """The second QEMU reads while the first one writes: the mount's streams are followed."""
    run("mount", "-o", "remount,follow", MOUNT)
    serials = [f"{WORK}/live-{i}" for i in range(2)]
    first = park.Qemu("first", IMAGE, serials[0])
    park.wait_for_lines(serials[0], 5, 60)
    first.qmp("migrate-set-parameters", **{"max-bandwidth": 8 * MIB})
    writer = os.open(f"{MOUNT}/live", os.O_WRONLY | os.O_CREAT)
    reader = os.open(f"{MOUNT}/live", os.O_RDONLY)
    first.qmp("getfd", fd=writer, fdname="state")
    os.close(writer)
    first.qmp("migrate", uri="fd:state")
    # Returns when all has come.
    second = park.Qemu("second", IMAGE, serials[1], incoming=f"fd:{reader}")
    first.wait_migration()
    os.close(reader)
    before = len(park.lines(serials[0]))
    second.qmp("cont")
    park.wait_for_lines(serials[1], 10, 60)
    check(int(park.lines(serials[1])[1]) == before + 2, "the guest did not go on where it was")
    first.quit()
    second.quit()
    run("mount", "-o", "remount,nofollow", MOUNT)
    clear()


# ---- other programs

@test
def cp_shares_what_it_copies():
    shell(f"cp {SOURCE} a")
    start = time.monotonic()
    shell("cp --reflink=always a b")
    seconds = time.monotonic() - start
    check(same(SOURCE, f"{MOUNT}/b"), "cp made another file")
    note(f"cp --reflink=always of {SIZE // MIB} MiB: {seconds * 1000:.0f} ms, of it cp's own start")
    shell("printf x | dd of=b bs=1 conv=notrunc 2>/dev/null")
    check(same(SOURCE, f"{MOUNT}/a"), "what was written to the copy is in the source")
    shell("cp a c; cp --sparse=always a d; cp -a a e; mv e f")
    for name in "cdf":
        check(same(SOURCE, f"{MOUNT}/{name}"), f"{name} is another file")
    clear()


@test
def rsync_copies_a_tree_and_finds_it_up_to_date():
    tree = f"{WORK}/tree"
    os.makedirs(f"{tree}/d/e")
    for i in range(20):
        with open(f"{tree}/d/f{i}", "wb") as file:
            file.write(os.urandom(i * 1000))
    os.symlink("d/f1", f"{tree}/s")
    os.link(f"{tree}/d/f2", f"{tree}/d/e/f2")
    run("rsync", "-aH", f"{tree}/", f"{MOUNT}/tree/")
    check(run("diff", "-r", tree, f"{MOUNT}/tree") == "", "the trees differ")
    check(run("rsync", "-aHi", f"{tree}/", f"{MOUNT}/tree/") == "", "rsync would copy again")
    check(os.stat(f"{MOUNT}/tree/d/e/f2").st_nlink == 2, "a hard link was lost")
    clear()


@test
def tar_packs_and_unpacks():
    shell(f"mkdir d; cp {SOURCE} d/a; ln d/a d/b; ln -s a d/s; chmod 640 d/a; tar -cf t.tar d; "
          "mkdir out; tar -C out -xpf t.tar; cmp d/a out/d/a; test out/d/a -ef out/d/b; "
          "test \"$(stat -c %a out/d/b)\" = 640; test \"$(readlink out/d/s)\" = a; tar -df t.tar")
    clear()


@test
def dd_reads_and_writes_with_its_own_flags():
    shell(f"dd if={SOURCE} of=a bs=1M oflag=direct,dsync status=none; "
          f"dd if=a iflag=direct bs=64k status=none | cmp - {SOURCE}; "
          "dd if=/dev/zero of=a bs=4k count=2 seek=3 conv=notrunc,fsync status=none; "
          "dd if=/dev/zero of=b bs=1M count=0 seek=64 status=none; "
          "test $(stat -c %s b) = 67108864; test $(stat -c %b b) = 0")
    clear()


@test
def a_shell_reads_and_writes_lines():
    check(shell("printf 'b\\na\\n' >f; sort -o f f; echo c >>f; cat f") == "a\nb\nc\n", "the lines")
    # A reader of a file that its writer has open comes to its end.
    check(shell("exec 3>f; echo x >&3; cat f; echo y >&3; cat f") == "x\nx\ny\n", "two readers")
    check(shell("set +e; sort f >f; wc -c <f").strip() == "0", "sort f >f is what it always was")
    check(shell("cat <<E\n1\nE\ntest -f f -a -w f; find . -name f -size -1k") == "1\n./f\n", "find")
    clear()


@test
def tail_follows_a_log():
    shell("echo 1 >log")
    with subprocess.Popen(["tail", "-f", f"{MOUNT}/log"], stdout=subprocess.PIPE, text=True) as tail:
        check(tail.stdout.readline() == "1\n", "the first line")
        shell("echo 2 >>log")
        check(tail.stdout.readline() == "2\n", "a line that came later")
        tail.kill()
    clear()


@test
def a_drained_name_is_a_pipe_with_a_bound():
    # It keeps the reader waiting until the other writer comes.
    writer = os.open(f"{MOUNT}/p", os.O_WRONLY | os.O_CREAT)
    call(writer, "SET_LIMIT", limit=4 * MIB)
    call(writer, "SET_FLAGS", set=abi.STREAM_DRAIN)
    with subprocess.Popen(["sha256sum", f"{MOUNT}/p"], stdout=subprocess.PIPE, text=True) as reader:
        end = time.monotonic() + 60
        while not info(writer).readers:
            check(time.monotonic() < end, "the reader does not come")
            time.sleep(0.01)
        run("dd", f"if={SOURCE}", f"of={MOUNT}/p", "bs=64k", "conv=notrunc", "status=none",
            timeout=60)
        os.close(writer)
        check(reader.communicate(timeout=60)[0].split()[0] == run("sha256sum", SOURCE).split()[0],
              "another sum")
    check(space() <= 4 * MIB, f"{space()} bytes are left")
    clear()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    SOURCE = f"{WORK}/source"
    with open(SOURCE, "wb") as source:
        for _ in range(SIZE // MIB):
            source.write(os.urandom(MIB))
    os.makedirs(MOUNT, exist_ok=True)
    run("mount", "-t", "qemufile", "-o", "size=1g", "qemufile", MOUNT)
    try:
        main()
    finally:
        subprocess.run(["umount", MOUNT])
