/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls of linux/qemufile.h as functions, for tests that need only the usual
 * arguments. Included by harness.h.
 */
#ifndef QEMUFILE_SELFTESTS_CALLS_H
#define QEMUFILE_SELFTESTS_CALLS_H

#include <linux/fs.h>

/* What GET_INFO tells; 0xee in every byte if it fails. */
static inline struct qemufile_info info_of(int fd)
{
	struct qemufile_info info = {};

	if (ioctl(fd, QEMUFILE_IOC_GET_INFO, &info))
		memset(&info, 0xee, sizeof(info));
	return info;
}

/* How many bytes from the start have been drained. */
static inline long long drained_of(int fd)
{
	return info_of(fd).drained;
}

static inline int set_limit(int fd, uint64_t limit)
{
	struct qemufile_limit request = { .limit = limit };

	return ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &request);
}

static inline int set_flags(int fd, uint32_t set)
{
	struct qemufile_flags request = { .set = set };

	return ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &request);
}

static inline int set_length(int fd, uint64_t len)
{
	struct qemufile_length request = { .length = len };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &request);
}

static inline int punch(int fd, uint64_t start, uint64_t len)
{
	struct qemufile_range range = { .start = start, .length = len };

	return ioctl(fd, QEMUFILE_IOC_PUNCH, &range);
}

static inline int set_rate(int fd, uint64_t limit, unsigned int flags)
{
	struct qemufile_rate rate = { .op = QEMUFILE_RATE_SET, .limit = limit, .flags = flags };

	return ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate);
}

static inline int set_error(int fd, int error)
{
	struct qemufile_error request = { .error = error };

	return ioctl(fd, QEMUFILE_IOC_SET_ERROR, &request);
}

/* The next extent at @start or after it in which two streams differ; length -1 if the call fails. */
static inline struct qemufile_diff diff_at(int fd, int other, uint64_t start)
{
	struct qemufile_diff diff = { .start = start, .fd = other };

	if (ioctl(fd, QEMUFILE_IOC_DIFF, &diff))
		diff.length = -1;
	return diff;
}

/* How many bytes differ; -1 if the extents are not in order. */
static inline long long differing(int fd, int other)
{
	struct qemufile_diff diff = { .start = 0 };
	long long sum = 0;

	for (;;) {
		uint64_t from = diff.start + diff.length;

		diff = diff_at(fd, other, from);
		if (diff.length == 0)
			return diff.start == from ? sum : -1;
		if (diff.start < from || diff.length > INT64_MAX)
			return -1;
		sum += diff.length;
	}
}

/* FICLONERANGE. */
static inline int clone_range(int to, int from, uint64_t from_pos, uint64_t len, uint64_t to_pos)
{
	struct file_clone_range range = {
		.src_fd = from, .src_offset = from_pos, .src_length = len, .dest_offset = to_pos,
	};

	return ioctl(to, FICLONERANGE, &range);
}

#endif /* QEMUFILE_SELFTESTS_CALLS_H */
