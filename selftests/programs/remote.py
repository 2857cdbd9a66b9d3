#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The examples of Documentation/user/remote.rst, as the page has them, between two machines (see
machines.py). Those with an object store are in remote_store.py.

Usage: remote.py IMAGE      (see tool.py)
"""

import json
import os
import subprocess
import time

# pylint: disable=wrong-import-order
from tool import FORMAT, MIB, MOUNT, WORK, ctl, guest, path, read, run
from park import lines, wait_for_lines
from tap import check, note, test
from machines import (ENV, EXAMPLES, all_shown_is_run, clear, ended, example, here, json_there, listens,
                      lose_connections, memory_there, on_other, path_there, put, put_with_holes,
                      read_there, same, shell, start_sshd, sum_of, there, two_machines, wait_until, write)

TO_PUT = "socat -u TCP-LISTEN:7000,reuseaddr STDOUT | qemufilectl put vm1"
SEND = "qemufilectl cat vm1 | socat -u STDIN TCP:other:7000"
CHECK = "sha256sum /run/qemufile/vm1 | ssh other sha256sum --check"
PIPE = "qemufilectl cat vm1 | ssh other qemufilectl put vm1"
SAFE = ("qemufilectl cat vm1 | ssh other qemufilectl put vm1.part && "
        "ssh other mv /run/qemufile/vm1.part /run/qemufile/vm1")


# ---- ssh

@test
def a_stream_goes_through_ssh():
    data = put("vm1", 16 * MIB + 5)
    start = time.monotonic()
    here(example(PIPE))
    note(f"16 MiB in {time.monotonic() - start:.2f} s")
    check(read_there("vm1") == data, "other bytes")
    text = here(example(CHECK))
    check(text == f"{path('vm1')}: OK\n", text)
    # It finds one byte.
    write("vm1", 12345, bytes([data[12345] ^ 1]))
    here(f"{CHECK} --status", status=1)
    os.unlink(path_there("vm1"))
    # The sum, in one connection with the bytes.
    text = here("qemufilectl cat vm1 | ssh other 'qemufilectl put vm1 && sha256sum /run/qemufile/vm1'")
    check(text.split()[0] == sum_of(read("vm1")), text)
    clear()
    # A name at the end. And a pipe has no holes.
    kept = put_with_holes("vm1")
    here(example("set -o pipefail") + "\n" + example(SAFE))
    same("vm1")
    check(os.listdir(path_there(f"{MOUNT}/")) == ["vm1"], "the name of the part is there")
    check(memory_there() == 8 * MIB > kept, f"it holds {memory_there()} bytes")
    clear()


@test
def of_a_connection_that_is_lost_what_came_gets_the_name():
    data = os.urandom(8 * MIB)
    for command, name in ((PIPE, "vm1"), (SAFE, "vm1.part")):
        # Half is sent, and no end, when the connection is lost.
        ctl("create", "--follow", "vm1")
        with open(path("vm1"), "wb", buffering=0) as writer:
            with subprocess.Popen(shell(command.replace("cat", "cat --follow")), env=ENV) as sender:
                writer.write(data[:4 * MIB])
                wait_until(lambda: memory_there() >= MIB, "nothing comes")
                check(os.listdir(path_there(f"{MOUNT}/")) == [], "a name before the end")
                lose_connections()
                writer.write(data[4 * MIB:])
                writer.close()
                check(sender.wait(60) == 255, f"the sender's status is {sender.returncode}")
        wait_until(lambda: os.listdir(path_there(f"{MOUNT}/")), "no name")
        check(os.listdir(path_there(f"{MOUNT}/")) == [name], f"not the name {name}")
        have = read_there(name)
        note(f"{len(have)} bytes came")
        check(0 < len(have) < len(data) and data.startswith(have), f"not the first {len(have)} bytes")
        if name == "vm1":
            here(f"{CHECK} --status", status=1)
        clear()


# ---- socat, rsync

@test
def a_stream_goes_without_encryption():
    data = put("vm1", 16 * MIB + 5)
    start = time.monotonic()
    other = there(example(TO_PUT))
    listens(7000)
    here(example(SEND))
    ended(other)
    note(f"16 MiB in {time.monotonic() - start:.2f} s")
    check(read_there("vm1") == data, "other bytes")
    clear()


@test
def a_stream_that_is_written_goes_on_its_way():
    other = there(TO_PUT)
    listens(7000)
    data = os.urandom(4 * MIB)
    before = [example(line) for line in (
        "qemufilectl create --follow --drain --limit 64M vm1", "exec 3>/run/qemufile/vm1",
        "{ qemufilectl cat --follow vm1 | socat -u STDIN TCP:other:7000; } 3>&- &")]
    # With less room than the page gives it: the writer has to wait.
    text = here("\n".join([*before, "qemufilectl limit vm1 1M", "cat >/run/qemufile/vm1",
                           "qemufilectl --json stat vm1", example("exec 3>&-"), "wait $!"]), input=data)
    ended(other)
    check(read_there("vm1") == data, "other bytes")
    memory = json.loads(text)["memory"]
    check(memory <= MIB, f"it holds {memory} bytes, more than its limit")
    clear()


@test
def a_stream_is_a_file_for_other_programs():
    data = put("vm1", 4 * MIB + 9)
    other = there(example("socat -u TCP-LISTEN:7000,reuseaddr OPEN:/run/qemufile/vm1,creat"))
    listens(7000)
    here(example("socat -u FILE:/run/qemufile/vm1 TCP:other:7000"))
    ended(other)
    check(read_there("vm1") == data, "by socat alone: other bytes")
    os.unlink(path_there("vm1"))
    other = there(TO_PUT)
    listens(7000)
    here(example("socat TCP:other:7000 EXEC:'qemufilectl cat vm1',nofork"))
    ended(other)
    check(read_there("vm1") == data, "by sendfile: other bytes")
    clear()


RSYNC = "rsync --ignore-times --sparse /run/qemufile/vm1 other:/run/qemufile/vm1"
IN_PLACE = "rsync --ignore-times --sparse --inplace /run/qemufile/vm1 other:/run/qemufile/vm1"


def changes_on_its_way(command, start, data):
    """How many bytes of the stream there a clone does not share after this change was sent to it."""
    here("ssh other qemufilectl clone --replace vm1 before")
    write("vm1", start, data)
    # As if both were written in the same second.
    for file in path("vm1"), path_there("vm1"):
        os.utime(file, (1, 1))
    here(example(command))
    same("vm1")
    return json_there("diff", "before", "vm1")["bytes"]


@test
def rsync_keeps_holes_and_writes_what_differs():
    kept = put_with_holes("vm1")
    here(example("rsync --ignore-times --sparse /run/qemufile/vm1 other:/srv/guests/vm1"))
    same("vm1", "/srv/guests/vm1")
    blocks = os.stat(path_there("/srv/guests/vm1")).st_blocks * 512
    check(blocks == kept, f"the file has {blocks} bytes, not {kept}")
    here(example(RSYNC))
    same("vm1")
    check(memory_there() == kept, f"the stream has {memory_there()} bytes, not {kept}")
    changed = changes_on_its_way(IN_PLACE, 4 * MIB + 100, b"x" * 5000)
    note(f"5000 bytes were changed; rsync wrote {changed} in place")
    check(0 < changed < MIB, f"{changed} bytes are not shared")
    changed = changes_on_its_way(RSYNC, 5 * MIB, b"y")
    check(changed >= kept, f"only {changed} bytes are not shared")
    clear()


@test
def a_lost_connection_of_rsync_leaves_what_was_there():
    put("vm1", 16 * MIB)
    old = read("vm1")[:MIB]
    for command, leaves in ((RSYNC, True), (IN_PLACE, False)):
        with open(path_there("vm1"), "wb") as file:
            file.write(old)
        command = command.replace("rsync ", "rsync --bwlimit=2m ")
        with subprocess.Popen(shell(f"{command} 2>/dev/null"), env=ENV) as sender:
            wait_until(lambda: memory_there() >= 4 * MIB, "nothing comes")
            lose_connections()
            check(sender.wait(60) != 0, "rsync has not failed")
        wait_until(lambda: os.listdir(path_there(f"{MOUNT}/")) == ["vm1"], "a part is left")
        have = read_there("vm1")
        check((have == old) == leaves, f"{command}: it has {len(have)} bytes")
    clear()


# ---- increments, and a guest

@test
def an_increment_is_sent():
    kept = put_with_holes("vm.ram")
    here("\n".join(map(example, (
        "qemufilectl create empty", "qemufilectl clone vm.ram monday",
        "ssh other qemufilectl create vm.ram",
        "qemufilectl diff empty monday --export - | ssh other qemufilectl apply vm.ram"))))
    same("monday", "vm.ram")
    check(memory_there() == kept, f"it holds {memory_there()} bytes, not {kept}")
    write("vm.ram", 3 * MIB, b"x" * 8192)
    here("\n".join(map(example, (
        "qemufilectl clone vm.ram tuesday",
        "qemufilectl diff monday tuesday --export - | ssh other qemufilectl apply vm.ram"))))
    same("tuesday", "vm.ram")
    # The connection ends early: as it was. The export may find that nobody reads on.
    here("(qemufilectl diff tuesday monday --export - || true) | head -c 5000 |"
         " ssh other qemufilectl apply vm.ram 2>&1", status=FORMAT)
    same("tuesday", "vm.ram")
    clear()


@test
def a_guest_is_loaded_from_the_network():
    with guest() as first:
        wait_for_lines(first.serial, 5, 60)
        os.symlink(first.socket, f"{WORK}/vm1.qmp")
        here(f"cd {WORK}\n" + example("qemufilectl park --quit vm1.qmp vm1"))
        first.process.wait(30)
        before = len(lines(first.serial))
    size = os.stat(path("vm1")).st_size
    with guest("-incoming", "tcp:0:7000", prefix=on_other([])) as second:
        listens(7000)
        start = time.monotonic()
        here(example(SEND))
        second.counts_on()
        note(f"{size} bytes; the guest goes on after {time.monotonic() - start:.2f} s")
        check(int(lines(second.serial)[1]) == before + 2, lines(second.serial)[:2])
    clear()


@test
def the_page_shows_nothing_else():
    all_shown_is_run(title for title in EXAMPLES if title != "An object store")


if __name__ == "__main__":
    with two_machines():
        start_sshd()
        run()
