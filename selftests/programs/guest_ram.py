#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""QEMU's guest RAM is a stream with a name. A running guest is forked by a clone of it.

Usage: guest_ram.py IMAGE      (the boot sector of the demo's guest)
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
from tap import check, main, note, test

MIB = 1 << 20
IMAGE = sys.argv[1]
MOUNT = "/run/qemufile"
TMPFS = "/run/copies"
WORK = tempfile.mkdtemp()


def have_kvm():
    """Whether a guest can run in this machine with KVM, nested or not."""
    for module in ["kvm_amd", "kvm_intel"]:
        subprocess.run(["modprobe", module], stderr=subprocess.DEVNULL, check=False)
    return os.path.exists("/dev/kvm")


def follow(family):
    """Each guest has counted on from where it was forked, on its own, with all of its memory."""
    for name in ["parent"] + [name for name, _ in family.children]:
        numbers = family.numbers(name)
        check(len(numbers) > 10, f"the {name} printed {len(numbers)} numbers")
        check(numbers == list(range(1, len(numbers) + 1)), f"the {name} printed {numbers}")


def fork_eight(accel, directory):
    """Returns the seconds of all clones, and the bytes of the RAM of all nine."""
    family = fork.Family(IMAGE, directory, tempfile.mkdtemp(dir=WORK), accel)
    park.wait_for_lines(family.serial("parent"), 15, 60)
    pause, saving, clones, all_run = family.fork(8)
    family.wait(5, 120)
    follow(family)
    held = family.usage() if directory == MOUNT else family.allocated()
    note(f"{accel}, {directory}: stood still for {pause * 1e3:.0f} ms (of it {saving * 1e3:.0f} "
         f"for the state of the devices), clone {clones[0] * 1e3:.2f} ms, the next seven "
         f"{sum(clones[1:]) * 1e3:.2f} ms, all run after {all_run:.2f} s; the RAM of nine is "
         f"{held / MIB:.1f} MiB")
    family.quit()
    return sum(clones), held


@test
def nine_guests_go_on_from_one():
    _, held = fork_eight("tcg", MOUNT)
    check(held < 2 * park.RAM, f"{held} bytes")


@test
def nine_guests_go_on_from_one_with_kvm():
    accel = "kvm" if have_kvm() else "tcg"
    clone_time, clone_held = fork_eight(accel, MOUNT)
    copy_time, copy_held = fork_eight(accel, TMPFS)
    note(f"{accel}: fan-out {copy_time / clone_time:.0f} times as fast as copies, memory "
         f"{copy_held / clone_held:.1f} times as small")
    check(copy_time > 5 * clone_time, "clones are no faster than copies")
    check(copy_held > 4 * clone_held, "clones are no smaller than copies")


@test
def a_fork_is_faster_than_a_save_and_a_restore():
    """QEMU's own way to a second guest: all RAM to a file at fixed places, and back."""
    family = fork.Family(IMAGE, MOUNT, tempfile.mkdtemp(dir=WORK))
    park.wait_for_lines(family.serial("parent"), 10, 60)
    pause, _, _, forked = family.fork(1)
    family.wait(5, 60)

    family.parent.qmp("migrate-set-capabilities", capabilities=[
        {"capability": "x-ignore-shared", "state": False},
        {"capability": "mapped-ram", "state": True}])
    start = time.monotonic()
    family.parent.qmp("stop")
    family.parent.save(f"{TMPFS}/saved")
    family.parent.qmp("cont")
    saved = time.monotonic() - start
    start = time.monotonic()
    serial = f"{family.work}/restored.serial"
    restored = park.Qemu("restored", IMAGE, serial, incoming="defer", ram=f"{TMPFS}/restored.ram")
    restored.enable("mapped-ram")
    restored.qmp("migrate-incoming", uri=f"file:{TMPFS}/saved")
    restored.wait_migration()
    restored.qmp("cont")
    ready = time.monotonic() - start
    park.wait_for_lines(serial, 5, 60)
    note(f"stood still for {pause * 1e3:.0f} ms, and a fork ran after {forked * 1e3:.0f}; saved with "
         f"mapped-ram in {saved * 1e3:.0f} ms, and restored in {ready * 1e3:.0f}")
    check(forked < saved + ready, "a fork takes as long as a save and a restore")
    restored.quit()
    os.unlink(f"{TMPFS}/saved")
    os.unlink(f"{TMPFS}/restored.ram")
    family.quit()


@test
def a_fork_is_forked():
    family = fork.Family(IMAGE, MOUNT, tempfile.mkdtemp(dir=WORK))
    park.wait_for_lines(family.serial("parent"), 10, 60)
    family.fork(1)
    family.wait(5, 60)
    # And the parent once more, of which another has pages by now.
    family.fork(1)
    family.wait(5, 60)
    numbers = family.numbers("parent")
    check(numbers == list(range(1, len(numbers) + 1)), f"the parent printed {numbers}")
    family.quit()


@test
def snapshots_of_a_guest_that_runs_are_taken_every_second():
    family = fork.Family(IMAGE, MOUNT, tempfile.mkdtemp(dir=WORK))
    park.wait_for_lines(family.serial("parent"), 10, 60)
    times = []
    for i in range(4):
        times.append(family.clone(f"snapshot{i}"))
        time.sleep(1)
    # It marks every page from 1 MiB to 24 MiB with its address, and checks that at each tick.
    for i in range(4):
        with open(family.path(f"snapshot{i}.ram"), "rb") as file:
            ram = file.read()
        check(len(ram) == park.RAM, f"{len(ram)} bytes")
        for at in range(MIB, 24 * MIB, 4096):
            mark = int.from_bytes(ram[at:at + 4], "little")
            check(mark == at, f"snapshot {i}: {mark:#x} at {at:#x}")
        os.unlink(family.path(f"snapshot{i}.ram"))
    numbers = family.numbers("parent")
    check(numbers == list(range(1, len(numbers) + 1)), f"the guest printed {numbers}")
    note("clones of the RAM of a guest that runs: " +
         ", ".join(f"{seconds * 1e3:.2f} ms" for seconds in times))
    family.quit()


@test
def qemu_restarts_and_its_guest_keeps_its_ram():
    """cpr-reboot: the state of the devices is saved, and the RAM stays where it is."""
    work = tempfile.mkdtemp(dir=WORK)
    path, state = f"{MOUNT}/vm.ram", f"{MOUNT}/state"
    serials = [f"{work}/serial-{i}" for i in range(2)]
    first = park.Qemu("first", IMAGE, serials[0], ram=path)
    first.enable("x-ignore-shared")
    first.qmp("migrate-set-parameters", mode="cpr-reboot")
    park.wait_for_lines(serials[0], 10, 60)
    first.qmp("stop")
    size, _ = first.save(state)
    first.quit()
    check(size < 4 * MIB, f"{size} bytes: the RAM is in the state")
    second = park.Qemu("second", IMAGE, serials[1], incoming="defer", ram=path)
    second.enable("x-ignore-shared")
    second.qmp("migrate-set-parameters", mode="cpr-reboot")
    second.qmp("migrate-incoming", uri=f"file:{state}")
    second.wait_migration()
    second.qmp("cont")
    park.wait_for_lines(serials[1], 10, 60)
    second.quit()
    output = b""
    for serial in serials:
        with open(serial, "rb") as file:
            output += file.read()
    for expected, number in enumerate(output.split(b"\n")[:-1], 1):
        check(number == b"%d" % expected, f"the guest printed {number!r} where {expected} was due")
    os.unlink(path)
    os.unlink(state)


os.makedirs(MOUNT, exist_ok=True)
os.makedirs(TMPFS, exist_ok=True)
subprocess.run(["mount", "-t", "qemufile", "qemufile", MOUNT], check=True)
subprocess.run(["mount", "-t", "tmpfs", "copies", TMPFS], check=True)
try:
    main()
finally:
    subprocess.run(["umount", MOUNT], check=True)
    subprocess.run(["umount", TMPFS], check=True)
