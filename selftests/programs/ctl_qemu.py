#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""qemufilectl and a real QEMU: park, restore and inspect.

Usage: ctl_qemu.py IMAGE      (see tool.py)
"""

import os
import signal
import subprocess
import time

# pylint: disable=wrong-import-order
from tool import (FORMAT, INTERRUPTED, MIB, NAME, NOT_SET_UP, QEMU, TOOL, WORK, clear, ctl,
                  ctl_json, guest, path, read, run)
import stream
from park import lines, wait_for_lines
from tap import check, note, test


@test
def a_guest_is_parked_and_goes_on_elsewhere():
    with guest() as first:
        wait_for_lines(first.serial, 5, 60)
        parked = ctl_json("park", first.socket, "vm1", "--seal", "--quit")
        first.process.wait(30)
        check(first.process.returncode == 0, "park --quit")
        before = len(lines(first.serial))
        check(os.stat(path("vm1")).st_size == parked["bytes"] > 20 * MIB, parked)
        note(f"parked {parked['bytes']} bytes in {parked['seconds']:.2f} s")
        # A stream is loaded as often as one likes.
        for _ in range(2):
            with guest("-incoming", "defer", "-S") as second:
                restored = ctl_json("restore", second.socket, "vm1", "--cont")
                check(restored["running"] and restored["bytes"] == parked["bytes"], restored)
                second.counts_on()
                # The line that the first was within may be cut.
                number = int(lines(second.serial)[1])
                check(number == before + 2, f"{number} after {before}")
        note(f"loaded in {restored['seconds']:.2f} s")


@test
def inspect_agrees_with_qemu_and_with_the_bytes():
    have = ctl_json("inspect", "vm1", "--description")
    check(have["machine"].startswith("pc-i440fx-") and have["version"] == 3, have["machine"])
    check(have["comparison"]["differences"] == [], have["comparison"])
    check(have["comparison"]["described"] == len(have["devices"]) > 20, have["comparison"])
    check(have["bytes"] == os.stat(path("vm1")).st_size, "the length")
    names = [device["name"] for device in have["description"]["devices"]]
    check([device["name"] for device in have["devices"]] == names, names)
    ram = have["blocks"][0]
    check((ram["name"], ram["size"]) == ("pc.ram", 32 * MIB), ram)
    text = ctl("inspect", "vm1")
    check("each as in the stream" in text and "i8259" in text, text)
    # By a pipe, and what is cut off.
    data = read("vm1")
    check(ctl_json("inspect", "-", input=data)["devices"] == have["devices"], "of a pipe")
    for size in (3, 100, MIB, len(data) // 2, len(data) - 5):
        ctl("inspect", "-", input=data[:size], status=FORMAT)
    # A stopped guest sends each page once: all of them, as another parser counts them.
    with guest("-incoming", "defer", "-S") as qemu:
        ctl("restore", qemu.socket, "vm1")
        ctl("park", qemu.socket, "vm2")
    have = ctl_json("inspect", "vm2")
    pages = sum(block["pages"] + block["zero_pages"] for block in have["blocks"])
    other = stream.Stream(read("vm2"))
    check(pages == len(other.pages) >= 8192, f"{pages} pages, of {len(other.pages)}")
    os.unlink(path("vm2"))


@test
def a_mapped_ram_stream_is_inspected_too():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 2, 60)
        capability = {"capability": "mapped-ram", "state": True}
        qemu.qmp("migrate-set-capabilities", capabilities=[capability])
        ctl("park", qemu.socket, "vm2", "--stop")
        have = ctl_json("inspect", "vm2")
    check(have["capabilities"] == ["mapped-ram"], have["capabilities"])
    check(have["comparison"]["differences"] == [], have["comparison"])
    check(have["blocks"][0]["pages"] > 1000, have["blocks"])
    ctl("inspect", "-", input=read("vm2"), status=FORMAT)
    os.unlink(path("vm2"))


@test
def ctrl_c_in_a_park_leaves_the_guest_running_and_no_stream():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 3, 60)
        parameters = qemu.qmp("query-migrate-parameters")
        for stop in ([], ["--stop"]):
            with subprocess.Popen([TOOL, "park", qemu.socket, "new", "--rate", "2M", *stop],
                                  stderr=subprocess.PIPE, text=True) as tool:
                end = time.monotonic() + 60
                while qemu.qmp("query-migrate").get("ram", {}).get("transferred", 0) < MIB:
                    check(tool.poll() is None and time.monotonic() < end, "no migration begins")
                    time.sleep(0.05)
                check(not os.path.exists(path("new")), "a part has the name")
                tool.send_signal(signal.SIGINT)
                error = tool.communicate(timeout=60)[1]
            check(tool.returncode == INTERRUPTED, f"status {tool.returncode}: {error}")
            check("the guest runs on" in error and error.count("\n") == 1, error)
            check(qemu.running(), "the guest stands still")
            qemu.counts_on()
            check(qemu.qmp("query-migrate")["status"] == "cancelled", "the migration goes on")
            check(qemu.qmp("query-migrate-parameters") == parameters, "other parameters")
            check(qemu.qmp("query-fdsets") == [], "QEMU still has a descriptor")
            check(not os.path.exists(path("new")), "there is a stream")
        ctl("park", qemu.socket, "new")
        check(not qemu.running(), "it runs, and is saved")
        os.unlink(path("new"))


@test
def a_park_that_fails_leaves_the_guest_running():
    with guest() as qemu:
        wait_for_lines(qemu.serial, 2, 60)
        ctl("park", qemu.socket, "vm1", status=NAME)
        ctl("park", qemu.socket, "no/such/folder", status=NOT_SET_UP)
        small = f"{WORK}/small"
        os.makedirs(small)
        subprocess.run(["mount", "-t", "qemufile", "-o", "size=4m", "qemufile", small], check=True)
        try:
            error = ctl("park", qemu.socket, f"{small}/vm", status=QEMU)
            check("the guest runs on" in error, error)
            check(os.listdir(small) == [], os.listdir(small))
        finally:
            subprocess.run(["umount", small], check=True)
        check(qemu.running(), "the guest stands still")
        qemu.counts_on()
        ctl("restore", qemu.socket, "vm1", status=QEMU)
        check(qemu.running(), "the guest stands still")
    ctl("park", qemu.socket, "vm9", status=QEMU)
    ctl("park", f"{WORK}/nothing", "vm9", status=QEMU)
    check(not os.path.exists(path("vm9")), "there is a stream")


@test
def a_restore_that_fails_says_what_qemu_says():
    ctl("put", "bad", input=read("vm1")[:MIB])
    ctl("put", "none", input=b"no guest")
    with guest("-incoming", "defer", "-S") as qemu:
        ctl("restore", qemu.socket, "none", status=FORMAT)
        ctl("park", qemu.socket, "vm9", status=QEMU)
        ctl("restore", qemu.socket, "bad", status=QEMU)
    clear()


if __name__ == "__main__":
    run()
