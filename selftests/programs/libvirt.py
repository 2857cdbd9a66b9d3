#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""libvirt keeps its guests in streams: virsh save and restore by a path, and managedsave with its
directory on the mount.

Usage: libvirt.py IMAGE      (the boot sector of the demo's guest)
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

from tap import check, main, note, test

IMAGE = sys.argv[1]
MOUNT = "/run/qemufile"
WORK = tempfile.mkdtemp()
SERIAL = f"{WORK}/serial"
DOMAIN = f"""
<domain type='qemu'>
  <name>vm1</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='fd'/></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/><source file='{IMAGE}'/><target dev='fda'/><readonly/>
    </disk>
    <serial type='file'><source path='{SERIAL}' append='on'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
"""
# The machine's root is read-only, and it has neither cgroups of systemd's nor users for guests.
CONFIGURATION = """
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
DIRECTORIES = ["/var/lib/libvirt/qemu/save", "/var/cache/libvirt", "/var/log/libvirt/qemu"]
DAEMONS = []


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    check(done.returncode == 0, f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def virsh(*command):
    start = time.monotonic()
    run("virsh", "-q", *command)
    note(f"virsh {' '.join(command)}: {time.monotonic() - start:.1f} s")


def numbers():
    with open(SERIAL, "rb") as file:
        return [int(line) for line in file.read().split(b"\n")[:-1]]


def goes_on():
    """Waits until the guest has counted on; nothing may be amiss."""
    before = len(numbers())
    end = time.monotonic() + 60
    while len(numbers()) < before + 10:
        check(time.monotonic() < end, f"the guest stays at {numbers()[-1:]}")
        time.sleep(0.1)
    have = numbers()
    check(have == list(range(1, len(have) + 1)), f"the guest printed {have[before - 2:before + 5]}")


def set_up():
    os.makedirs(MOUNT, exist_ok=True)
    run("mount", "-t", "qemufile", "qemufile", MOUNT)
    shutil.copytree("/etc/libvirt", f"{WORK}/etc")
    run("mount", "--bind", f"{WORK}/etc", "/etc/libvirt")
    with open("/etc/libvirt/qemu.conf", "w", encoding="ascii") as file:
        file.write(CONFIGURATION)
    for directory in ("/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"):
        run("mount", "-t", "tmpfs", "none", directory)
    for directory in DIRECTORIES:
        os.makedirs(directory, exist_ok=True)
    os.mkdir(f"{MOUNT}/save")
    run("mount", "--bind", f"{MOUNT}/save", "/var/lib/libvirt/qemu/save")
    for daemon in ("virtlogd", "libvirtd"):
        DAEMONS.append(subprocess.Popen([daemon], stderr=subprocess.DEVNULL))
    end = time.monotonic() + 60
    while subprocess.run(["virsh", "-q", "version"], capture_output=True).returncode:
        check(time.monotonic() < end, "libvirtd does not answer")
        time.sleep(0.2)
    with open(f"{WORK}/domain.xml", "w", encoding="ascii") as file:
        file.write(DOMAIN)
    virsh("define", f"{WORK}/domain.xml")
    virsh("start", "vm1")
    end = time.monotonic() + 60
    while not os.path.exists(SERIAL) or len(numbers()) < 10:
        check(time.monotonic() < end, "the guest prints nothing")
        time.sleep(0.1)


@test
def a_guest_is_saved_to_a_name_and_restored_from_it():
    virsh("save", "vm1", f"{MOUNT}/vm1")
    check(os.stat(f"{MOUNT}/vm1").st_size > 20 << 20, "that cannot be the guest's memory")
    virsh("restore", f"{MOUNT}/vm1")
    goes_on()


@test
def managed_saves_are_kept_there():
    virsh("managedsave", "vm1")
    check(os.path.exists(f"{MOUNT}/save/vm1.save"), "the state is somewhere else")
    virsh("start", "vm1")
    goes_on()
    check(not os.path.exists(f"{MOUNT}/save/vm1.save"), "the state is still there")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    if not shutil.which("libvirtd"):
        print("TAP version 13\n1..0 # SKIP libvirt is not installed")
        sys.exit(4)
    try:
        set_up()
        main()
    finally:
        subprocess.run(["virsh", "-q", "destroy", "vm1"], capture_output=True)
        for process in reversed(DAEMONS):
            process.terminate()
            process.wait(30)
        for directory in ("/var/lib/libvirt/qemu/save", "/var/lib/libvirt", "/var/cache/libvirt",
                          "/var/log/libvirt", "/etc/libvirt", MOUNT):
            subprocess.run(["umount", directory], stderr=subprocess.DEVNULL)
