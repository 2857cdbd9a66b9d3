# SPDX-License-Identifier: GPL-2.0
"""Streams of /dev/qemufile. Structs, numbers and flags are those of the header: it is read, and
each `struct qemufile_NAME` is here abi.NAME, each `QEMUFILE_NAME` abi.NAME."""

import ctypes
import fcntl
import os
import re
import types

DEVICE = "/dev/qemufile"
HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                      "../../include/uapi/linux/qemufile.h")
FIELDS = {"u64": ctypes.c_uint64, "u32": ctypes.c_uint32, "s32": ctypes.c_int32}
# In the direction bits of a number, as <asm-generic/ioctl.h> has them.
DIRECTIONS = {"_IOW": 1, "_IOR": 2, "_IOWR": 3}


def read_header():
    with open(HEADER, encoding="ascii") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    abi = types.SimpleNamespace()
    for name, body in re.findall(r"struct qemufile_(\w+) \{(.*?)\};", text, re.S):
        fields = [(field, FIELDS[kind]) for kind, field in re.findall(r"__(\w+) (\w+);", body)]
        setattr(abi, name, type(name, (ctypes.Structure,), {"_fields_": fields}))
    for name, value in re.findall(
            r"^(?:#define)?[ \t]+QEMUFILE_(\w+)(?: =)?[ \t]+(\S.*)", text, re.M):
        call = re.match(r"(_IOW?R?)\(QEMUFILE_IOC_MAGIC, (\w+), struct qemufile_(\w+)\)", value)
        if call:
            size = ctypes.sizeof(getattr(abi, call[3]))
            number = DIRECTIONS[call[1]] << 30 | size << 16 | abi.IOC_MAGIC << 8 | int(call[2], 16)
        else:
            shift = re.match(r"\(1U << (\d+)\)", value)
            number = 1 << int(shift[1]) if shift else int(value.strip("()"), 0)
        setattr(abi, name, number)
    return abi


abi = read_header()


def call(fd, name, **fields):
    """The ioctl `name`; returns its struct afterwards, or the descriptor that it makes."""
    kind = {"PUT": "vector", "GET": "vector", "PEEK": "vector", "BUFOPEN": "open", "CLONE": "open",
            "GET_INFO": "info", "SET_LIMIT": "limit", "SET_FLAGS": "flags"}[name]
    argument = getattr(abi, kind)(**fields)
    result = fcntl.ioctl(fd, getattr(abi, "IOC_" + name), argument)
    return result if kind == "open" else argument


def info(fd):
    return call(fd, "GET_INFO")


def open_pair(limit=None):
    """A reader's and a writer's handle of a new stream, both regular files, which nobody else has
    open. With a limit, the stream is drained, and holds no more bytes than that."""
    device = os.open(DEVICE, os.O_RDWR)
    try:
        if limit is not None:
            call(device, "SET_LIMIT", limit=limit)
            call(device, "SET_FLAGS", set=abi.STREAM_DRAIN)
        return (call(device, "BUFOPEN", mode=abi.MODE_READ),
                call(device, "BUFOPEN", mode=abi.MODE_WRITE))
    finally:
        os.close(device)


# ---- typed calls

TYPES = {"byte": abi.BYTE, "be16": abi.BE16, "be32": abi.BE32, "be64": abi.BE64}


def typed(fd, name, items):
    """PUT, GET or PEEK of (type, value) pairs; the type "buffer" has bytes for its value, or, if
    it is to be read, a length. Returns the pairs with the values that they have then."""
    records = (abi.record * len(items))()
    buffers = []
    for record, (kind, value) in zip(records, items):
        if kind == "buffer":
            buffer = ctypes.create_string_buffer(value, value if name != "PUT" else len(value))
            buffers.append(buffer)
            record.type = abi.BUFFER
            record.value = ctypes.addressof(buffer)
            record.length = len(buffer)
        else:
            buffers.append(None)
            record.type = TYPES[kind]
            record.value = value if name == "PUT" else 0
    vector = call(fd, name, records=ctypes.addressof(records), count=len(items))
    if vector.done != len(items):
        raise EOFError(f"{name}: {vector.done} of {len(items)} records")
    return [(kind, buffer.raw[:record.length] if buffer else record.value)
            for (kind, _), record, buffer in zip(items, records, buffers)]
