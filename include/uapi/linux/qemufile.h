/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/qemufile: a migration stream in the kernel.
 *
 * Bits of `flags` and `reserved` words without a meaning must be zero (EINVAL).
 * The layout of each struct is the same for 32-bit and 64-bit callers. An
 * unknown number is ENOTTY.
 */
#ifndef _UAPI_LINUX_QEMUFILE_H
#define _UAPI_LINUX_QEMUFILE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Free in Documentation/userspace-api/ioctl/ioctl-number.rst. */
#define QEMUFILE_IOC_MAGIC	0xEF

/* Access of a handle: qemufile_info.mode, qemufile_open.mode. */
#define QEMUFILE_MODE_READ	(1U << 0)	/* QEMU's "r" */
#define QEMUFILE_MODE_WRITE	(1U << 1)	/* QEMU's "w" */

/* Properties of a stream. A property can be set, and not cleared. */
#define QEMUFILE_STREAM_APPEND	(1U << 0)	/* writes at the end only */
#define QEMUFILE_STREAM_SEALED	(1U << 1)	/* no more writes */
#define QEMUFILE_STREAM_DRAIN	(1U << 2)	/* frees what all read-only handles have passed */
#define QEMUFILE_STREAM_NOSHARE	(1U << 3)	/* read-only handles get copies, not pages */
#define QEMUFILE_STREAM_FOLLOW	(1U << 4)	/* a named file's readers wait for who only writes */

/**
 * struct qemufile_info - the state of a handle and its stream
 * @length: the stream's length, in bytes (qsb_get_length)
 * @allocated: memory of the stream's data, in bytes
 * @chunks: number of contiguous pieces of this memory
 * @drained: bytes at the start that draining has freed
 * @limit: the stream's limit, in bytes; 0 is none
 * @position: the handle's position, in bytes (qemu_ftell)
 * @xfer: bytes counted against the handle's rate limit
 * @rate_limit: the handle's rate limit; 0 is none
 * @readers: handles of the stream that are open for reading
 * @writers: handles of the stream that are open for writing
 * @mode: access of this handle, QEMUFILE_MODE_*
 * @stream_flags: QEMUFILE_STREAM_*
 * @error: the handle's latched error, a negative error number, or 0
 * @flags: 0
 */
struct qemufile_info {
	__u64 length;
	__u64 allocated;
	__u64 chunks;
	__u64 drained;
	__u64 limit;
	__u64 position;
	__u64 xfer;
	__u64 rate_limit;
	__u32 readers;
	__u32 writers;
	__u32 mode;
	__u32 stream_flags;
	__s32 error;
	__u32 flags;
};

/**
 * struct qemufile_length - a new length
 * @length: in: the requested length; out: the length reached
 * @flags: 0
 * @reserved: 0
 */
struct qemufile_length {
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/* qemufile_extent.kind */
#define QEMUFILE_EXTENT_DATA	0
#define QEMUFILE_EXTENT_HOLE	1

/**
 * struct qemufile_extent - a run of data, or a hole
 * @start: in: its start, in bytes
 * @length: out: its length, in bytes; 0 at the end of the stream and after it
 * @kind: out: QEMUFILE_EXTENT_*
 * @flags: 0
 */
struct qemufile_extent {
	__u64 start;
	__u64 length;
	__u32 kind;
	__u32 flags;
};

/**
 * struct qemufile_range - a range of a stream
 * @start: its start, in bytes
 * @length: its length, in bytes
 * @flags: 0
 * @reserved: 0
 */
struct qemufile_range {
	__u64 start;
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct qemufile_diff - the next difference between two streams
 * @start: in: where to begin, in bytes; out: start of the difference
 * @length: out: its length, in bytes; 0 if there is none from @start on
 * @fd: a descriptor of the other stream
 * @flags: 0
 */
struct qemufile_diff {
	__u64 start;
	__u64 length;
	__s32 fd;
	__u32 flags;
};

/**
 * struct qemufile_usage - whose the memory of a stream's data is
 * @private_bytes: memory that only this stream has, in bytes
 * @shared_bytes: memory that others have as well: clones, pipes
 */
struct qemufile_usage {
	__u64 private_bytes;
	__u64 shared_bytes;
};

/* qemufile_open.flags; the new descriptor is O_CLOEXEC in any case. */
#define QEMUFILE_OPEN_NONBLOCK	(1U << 0)
#define QEMUFILE_OPEN_APPEND	(1U << 1)

/**
 * struct qemufile_open - access and flags of a new handle
 * @mode: QEMUFILE_MODE_*, at most the access of the handle of the call (EACCES)
 * @flags: QEMUFILE_OPEN_*
 */
struct qemufile_open {
	__u32 mode;
	__u32 flags;
};

/* qemufile_record.type */
#define QEMUFILE_BYTE		0	/* qemu_put_byte, qemu_get_byte */
#define QEMUFILE_BE16		1	/* qemu_put_be16, qemu_get_be16 */
#define QEMUFILE_BE32		2	/* qemu_put_be32, qemu_get_be32 */
#define QEMUFILE_BE64		3	/* qemu_put_be64, qemu_get_be64 */
#define QEMUFILE_BUFFER		4	/* qemu_put_buffer, qemu_get_buffer */

/**
 * struct qemufile_record - one typed value
 * @type: QEMUFILE_BYTE to QEMUFILE_BUFFER
 * @flags: 0
 * @value: the value (PUT: in, EINVAL if it does not fit the type; GET and
 *         PEEK: out); the address of the bytes for QEMUFILE_BUFFER
 * @length: QEMUFILE_BUFFER: in: bytes requested, out: bytes moved; else 0
 */
struct qemufile_record {
	__u32 type;
	__u32 flags;
	__u64 value;
	__u64 length;
};

#define QEMUFILE_MAX_RECORDS	1024

/**
 * struct qemufile_vector - typed values, in order
 * @records: address of an array of struct qemufile_record
 * @count: its length, at most QEMUFILE_MAX_RECORDS (E2BIG)
 * @done: out: number of complete records, also with an error of a record
 * @offset: PEEK: bytes from the position to the first value; else 0
 * @flags: 0
 * @reserved: 0
 */
struct qemufile_vector {
	__u64 records;
	__u32 count;
	__u32 done;
	__u64 offset;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct qemufile_skip - bytes to skip
 * @length: in: bytes to skip; out: bytes skipped
 * @flags: 0
 * @reserved: 0
 */
struct qemufile_skip {
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct qemufile_error - the latched error of a handle
 * @error: a negative error number, or 0
 * @flags: 0
 */
struct qemufile_error {
	__s32 error;
	__u32 flags;
};

/* qemufile_rate.op */
#define QEMUFILE_RATE_GET	0	/* qemu_file_get_rate_limit, qemu_file_rate_limit */
#define QEMUFILE_RATE_SET	1	/* qemu_file_set_rate_limit */
#define QEMUFILE_RATE_RESET	2	/* qemu_file_reset_rate_limit */

/* qemufile_rate.flags */
#define QEMUFILE_RATE_KEEP	(1U << 0)	/* the kernel enforces the limit */

/**
 * struct qemufile_rate - the rate limit of a handle
 * @limit: SET: in; else out. Bytes until the next RESET; with
 *         QEMUFILE_RATE_KEEP, bytes per second. 0 is no limit
 * @xfer: out: bytes written since the last RESET
 * @op: QEMUFILE_RATE_*
 * @flags: QEMUFILE_RATE_KEEP (SET: in, else out)
 * @exceeded: out: 1 if the writer should wait for the next RESET, or, with
 *            QEMUFILE_RATE_KEEP, if a write would wait now; also 1 while an
 *            error is latched; else 0
 * @reserved: 0
 */
struct qemufile_rate {
	__u64 limit;
	__u64 xfer;
	__u32 op;
	__u32 flags;
	__u32 exceeded;
	__u32 reserved;
};

/**
 * struct qemufile_limit - the limit of a stream
 * @limit: in bytes, without drained bytes; 0 is none
 * @flags: 0
 * @reserved: 0
 */
struct qemufile_limit {
	__u64 limit;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct qemufile_flags - properties of a stream
 * @set: QEMUFILE_STREAM_* to add
 * @flags: 0
 */
struct qemufile_flags {
	__u32 set;
	__u32 flags;
};

/* qemufile_ram_control.op */
#define QEMUFILE_RAM_BEFORE_ITERATE	0	/* ram_control_before_iterate */
#define QEMUFILE_RAM_AFTER_ITERATE	1	/* ram_control_after_iterate */
#define QEMUFILE_RAM_LOAD_HOOK		2	/* ram_control_load_hook */

/**
 * struct qemufile_ram_control - a RAM hook of the backend
 * @hook_flags: the `flags` argument of QEMU's hooks
 * @op: QEMUFILE_RAM_*
 * @flags: 0
 */
struct qemufile_ram_control {
	__u64 hook_flags;
	__u32 op;
	__u32 flags;
};

/* qemufile_save_page.result, as in QEMU's qemu-file.h */
#define QEMUFILE_SAVE_PAGE_NOT_SUPP	(-1000)
#define QEMUFILE_SAVE_PAGE_DELAYED	(-2000)

/**
 * struct qemufile_save_page - a page that the backend may save by its own means
 * @block_offset: of the page's RAM block, in bytes
 * @offset: of the page in its block, in bytes
 * @size: of the page, in bytes
 * @bytes_sent: out: bytes that the backend has sent
 * @result: out: QEMUFILE_SAVE_PAGE_*, or 0
 * @flags: 0
 */
struct qemufile_save_page {
	__u64 block_offset;
	__u64 offset;
	__u64 size;
	__u64 bytes_sent;
	__s32 result;
	__u32 flags;
};

/*
 * The ioctls; the argument is the address of the struct.
 *
 * An enum instead of macros: bindgen cannot evaluate _IOR() in a macro.
 */
enum qemufile_ioctl {
	QEMUFILE_IOC_GET_INFO = _IOR(QEMUFILE_IOC_MAGIC, 0x00, struct qemufile_info),
	QEMUFILE_IOC_SET_LENGTH = _IOWR(QEMUFILE_IOC_MAGIC, 0x01, struct qemufile_length),
	QEMUFILE_IOC_GET_EXTENT = _IOWR(QEMUFILE_IOC_MAGIC, 0x02, struct qemufile_extent),
	QEMUFILE_IOC_PUNCH = _IOW(QEMUFILE_IOC_MAGIC, 0x03, struct qemufile_range),
	/* These two return a new descriptor. */
	QEMUFILE_IOC_BUFOPEN = _IOW(QEMUFILE_IOC_MAGIC, 0x04, struct qemufile_open),
	QEMUFILE_IOC_CLONE = _IOW(QEMUFILE_IOC_MAGIC, 0x05, struct qemufile_open),
	QEMUFILE_IOC_DIFF = _IOWR(QEMUFILE_IOC_MAGIC, 0x06, struct qemufile_diff),
	QEMUFILE_IOC_GET_USAGE = _IOR(QEMUFILE_IOC_MAGIC, 0x07, struct qemufile_usage),
	QEMUFILE_IOC_PUT = _IOWR(QEMUFILE_IOC_MAGIC, 0x10, struct qemufile_vector),
	QEMUFILE_IOC_GET = _IOWR(QEMUFILE_IOC_MAGIC, 0x11, struct qemufile_vector),
	QEMUFILE_IOC_PEEK = _IOWR(QEMUFILE_IOC_MAGIC, 0x12, struct qemufile_vector),
	QEMUFILE_IOC_SKIP = _IOWR(QEMUFILE_IOC_MAGIC, 0x13, struct qemufile_skip),
	QEMUFILE_IOC_GET_ERROR = _IOR(QEMUFILE_IOC_MAGIC, 0x14, struct qemufile_error),
	QEMUFILE_IOC_SET_ERROR = _IOW(QEMUFILE_IOC_MAGIC, 0x15, struct qemufile_error),
	QEMUFILE_IOC_RATE_LIMIT = _IOWR(QEMUFILE_IOC_MAGIC, 0x16, struct qemufile_rate),
	QEMUFILE_IOC_SET_LIMIT = _IOW(QEMUFILE_IOC_MAGIC, 0x17, struct qemufile_limit),
	QEMUFILE_IOC_SET_FLAGS = _IOW(QEMUFILE_IOC_MAGIC, 0x18, struct qemufile_flags),
	QEMUFILE_IOC_RAM_CONTROL = _IOW(QEMUFILE_IOC_MAGIC, 0x20, struct qemufile_ram_control),
	QEMUFILE_IOC_SAVE_PAGE = _IOWR(QEMUFILE_IOC_MAGIC, 0x21, struct qemufile_save_page),
};

#endif /* _UAPI_LINUX_QEMUFILE_H */
