#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The example VMM, rust/user/vmm: its guest's RAM is a stream, and it forks the guest. With KVM.

Usage: vmm.py      (PROGRAMS is the folder of the VMM)
"""

import os
import re
import subprocess

from tap import check, main, note, test

VMM = f"{os.environ['PROGRAMS']}/vmm"


def have_kvm():
    """Whether a guest can run in this machine with KVM, nested or not."""
    for module in ("kvm_amd", "kvm_intel"):
        subprocess.run(["modprobe", module], stderr=subprocess.DEVNULL, check=False)
    return os.path.exists("/dev/kvm")


@test
def a_vmm_forks_its_guest():
    if not have_kvm():
        note("SKIP: no KVM in this machine")
        return
    result = subprocess.run([VMM, "4"], capture_output=True, text=True, timeout=120)
    check(result.returncode == 0, result.stdout + result.stderr)
    note(result.stdout)
    rows = re.findall(r"^(\d): counted to (\d+); (\d+) KiB of its own, (\d+) KiB shared$",
                      result.stdout, re.M)
    check(len(rows) == 5, result.stdout)
    for number, (index, count, own, shared) in enumerate(rows):
        check((int(index), int(count)) == (number, 1100 + number), result.stdout)
        check(int(own) < 1024 and int(shared) > 60 << 10, result.stdout)


@test
def a_vmm_says_what_is_wrong_in_one_line():
    result = subprocess.run([VMM, "many"], capture_output=True, text=True, timeout=60)
    check(result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr)


if __name__ == "__main__":
    main()
