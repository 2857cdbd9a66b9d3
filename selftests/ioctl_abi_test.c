// SPDX-License-Identifier: GPL-2.0
/*
 * What holds for all calls of linux/qemufile.h: numbers and layouts that do not
 * change, words that must be zero, addresses that are no memory, and handles
 * without the access that a call needs.
 */
#include <stddef.h>

#include "harness.h"

/* The ABI, once more: neither of the two may change without the other. */
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
#define OFFSET(type, field, offset) \
	_Static_assert(offsetof(struct type, field) == (offset), #type "." #field)

SIZE(qemufile_info, 88);
OFFSET(qemufile_info, length, 0);
OFFSET(qemufile_info, allocated, 8);
OFFSET(qemufile_info, chunks, 16);
OFFSET(qemufile_info, drained, 24);
OFFSET(qemufile_info, limit, 32);
OFFSET(qemufile_info, position, 40);
OFFSET(qemufile_info, xfer, 48);
OFFSET(qemufile_info, rate_limit, 56);
OFFSET(qemufile_info, readers, 64);
OFFSET(qemufile_info, writers, 68);
OFFSET(qemufile_info, mode, 72);
OFFSET(qemufile_info, stream_flags, 76);
OFFSET(qemufile_info, error, 80);
OFFSET(qemufile_info, flags, 84);
SIZE(qemufile_length, 16);
OFFSET(qemufile_length, flags, 8);
SIZE(qemufile_extent, 24);
OFFSET(qemufile_extent, length, 8);
OFFSET(qemufile_extent, kind, 16);
OFFSET(qemufile_extent, flags, 20);
SIZE(qemufile_range, 24);
OFFSET(qemufile_range, length, 8);
OFFSET(qemufile_range, flags, 16);
SIZE(qemufile_diff, 24);
OFFSET(qemufile_diff, length, 8);
OFFSET(qemufile_diff, fd, 16);
OFFSET(qemufile_diff, flags, 20);
SIZE(qemufile_usage, 16);
OFFSET(qemufile_usage, shared_bytes, 8);
SIZE(qemufile_open, 8);
OFFSET(qemufile_open, flags, 4);
SIZE(qemufile_record, 24);
OFFSET(qemufile_record, flags, 4);
OFFSET(qemufile_record, value, 8);
OFFSET(qemufile_record, length, 16);
SIZE(qemufile_vector, 32);
OFFSET(qemufile_vector, count, 8);
OFFSET(qemufile_vector, done, 12);
OFFSET(qemufile_vector, offset, 16);
OFFSET(qemufile_vector, flags, 24);
SIZE(qemufile_skip, 16);
OFFSET(qemufile_skip, flags, 8);
SIZE(qemufile_error, 8);
OFFSET(qemufile_error, flags, 4);
SIZE(qemufile_rate, 32);
OFFSET(qemufile_rate, xfer, 8);
OFFSET(qemufile_rate, op, 16);
OFFSET(qemufile_rate, flags, 20);
OFFSET(qemufile_rate, exceeded, 24);
SIZE(qemufile_limit, 16);
OFFSET(qemufile_limit, flags, 8);
SIZE(qemufile_flags, 8);
OFFSET(qemufile_flags, flags, 4);
SIZE(qemufile_ram_control, 16);
OFFSET(qemufile_ram_control, op, 8);
OFFSET(qemufile_ram_control, flags, 12);
SIZE(qemufile_save_page, 40);
OFFSET(qemufile_save_page, bytes_sent, 24);
OFFSET(qemufile_save_page, result, 32);
OFFSET(qemufile_save_page, flags, 36);

_Static_assert(QEMUFILE_IOC_GET_INFO == 0x8058ef00, "GET_INFO");
_Static_assert(QEMUFILE_IOC_SET_LENGTH == 0xc010ef01, "SET_LENGTH");
_Static_assert(QEMUFILE_IOC_GET_EXTENT == 0xc018ef02, "GET_EXTENT");
_Static_assert(QEMUFILE_IOC_PUNCH == 0x4018ef03, "PUNCH");
_Static_assert(QEMUFILE_IOC_BUFOPEN == 0x4008ef04, "BUFOPEN");
_Static_assert(QEMUFILE_IOC_CLONE == 0x4008ef05, "CLONE");
_Static_assert(QEMUFILE_IOC_PUT == 0xc020ef10, "PUT");
_Static_assert(QEMUFILE_IOC_GET == 0xc020ef11, "GET");
_Static_assert(QEMUFILE_IOC_PEEK == 0xc020ef12, "PEEK");
_Static_assert(QEMUFILE_IOC_SKIP == 0xc010ef13, "SKIP");
_Static_assert(QEMUFILE_IOC_GET_ERROR == 0x8008ef14, "GET_ERROR");
_Static_assert(QEMUFILE_IOC_SET_ERROR == 0x4008ef15, "SET_ERROR");
_Static_assert(QEMUFILE_IOC_RATE_LIMIT == 0xc020ef16, "RATE_LIMIT");
_Static_assert(QEMUFILE_IOC_DIFF == 0xc018ef06, "DIFF");
_Static_assert(QEMUFILE_IOC_GET_USAGE == 0x8010ef07, "GET_USAGE");
_Static_assert(QEMUFILE_IOC_SET_LIMIT == 0x4010ef17, "SET_LIMIT");
_Static_assert(QEMUFILE_IOC_SET_FLAGS == 0x4008ef18, "SET_FLAGS");
_Static_assert(QEMUFILE_IOC_RAM_CONTROL == 0x4010ef20, "RAM_CONTROL");
_Static_assert(QEMUFILE_IOC_SAVE_PAGE == 0xc028ef21, "SAVE_PAGE");

/* A call, an argument that is right, and where in it words must be zero. */
struct call {
	const char *name;
	unsigned long number;
	size_t size;
	/* What it needs: QEMUFILE_MODE_*, or 0. */
	unsigned int access;
	union {
		struct qemufile_info info;
		struct qemufile_length length;
		struct qemufile_extent extent;
		struct qemufile_range range;
		struct qemufile_diff diff;
		struct qemufile_usage usage;
		struct qemufile_open open;
		struct qemufile_vector vector;
		struct qemufile_skip skip;
		struct qemufile_error error;
		struct qemufile_rate rate;
		struct qemufile_limit limit;
		struct qemufile_flags flags;
		struct qemufile_ram_control ram_control;
		struct qemufile_save_page save_page;
		unsigned char bytes[128];
	} arg;
	/* Offsets of words of 32 bits; 0 ends the list. */
	size_t zeros[3];
};

static struct qemufile_record a_byte = { .type = QEMUFILE_BYTE, .value = 'x' };

static struct call calls[] = {
	{ "GET_INFO", QEMUFILE_IOC_GET_INFO, sizeof(struct qemufile_info) },
	{ "SET_LENGTH", QEMUFILE_IOC_SET_LENGTH, sizeof(struct qemufile_length),
	  QEMUFILE_MODE_WRITE, { .length = { .length = 1000 } }, { 8, 12 } },
	{ "GET_EXTENT", QEMUFILE_IOC_GET_EXTENT, sizeof(struct qemufile_extent),
	  0, { .extent = { .start = 0 } }, { 20 } },
	{ "DIFF", QEMUFILE_IOC_DIFF, sizeof(struct qemufile_diff),
	  QEMUFILE_MODE_READ, { .diff = { .start = 0 } }, { 20 } },
	{ "GET_USAGE", QEMUFILE_IOC_GET_USAGE, sizeof(struct qemufile_usage) },
	{ "PUNCH", QEMUFILE_IOC_PUNCH, sizeof(struct qemufile_range),
	  QEMUFILE_MODE_WRITE, { .range = { .start = 999, .length = 1 } }, { 16, 20 } },
	{ "PUT", QEMUFILE_IOC_PUT, sizeof(struct qemufile_vector),
	  QEMUFILE_MODE_WRITE, { .vector = { .count = 1 } }, { 24, 28 } },
	{ "GET", QEMUFILE_IOC_GET, sizeof(struct qemufile_vector),
	  QEMUFILE_MODE_READ, { .vector = { .count = 1 } }, { 24, 28 } },
	{ "PEEK", QEMUFILE_IOC_PEEK, sizeof(struct qemufile_vector),
	  QEMUFILE_MODE_READ, { .vector = { .count = 1 } }, { 24, 28 } },
	{ "SKIP", QEMUFILE_IOC_SKIP, sizeof(struct qemufile_skip),
	  QEMUFILE_MODE_READ, { .skip = { .length = 1 } }, { 8, 12 } },
	{ "GET_ERROR", QEMUFILE_IOC_GET_ERROR, sizeof(struct qemufile_error) },
	{ "SET_ERROR", QEMUFILE_IOC_SET_ERROR, sizeof(struct qemufile_error),
	  0, { .error = { .error = 0 } }, { 4 } },
	{ "RATE_LIMIT", QEMUFILE_IOC_RATE_LIMIT, sizeof(struct qemufile_rate),
	  0, { .rate = { .op = QEMUFILE_RATE_GET } }, { 20, 28 } },
	{ "SET_LIMIT", QEMUFILE_IOC_SET_LIMIT, sizeof(struct qemufile_limit),
	  QEMUFILE_MODE_WRITE, { .limit = { .limit = 0 } }, { 8, 12 } },
	{ "SET_FLAGS", QEMUFILE_IOC_SET_FLAGS, sizeof(struct qemufile_flags),
	  QEMUFILE_MODE_WRITE, { .flags = { .set = 0 } }, { 4 } },
	{ "RAM_CONTROL", QEMUFILE_IOC_RAM_CONTROL, sizeof(struct qemufile_ram_control),
	  QEMUFILE_MODE_WRITE, { .ram_control = { .op = QEMUFILE_RAM_BEFORE_ITERATE } }, { 12 } },
	{ "SAVE_PAGE", QEMUFILE_IOC_SAVE_PAGE, sizeof(struct qemufile_save_page),
	  QEMUFILE_MODE_WRITE, { .save_page = { .size = 4096 } }, { 36 } },
};

FIXTURE(abi) {
	int fd;
	int reader;
	int writer;
};

FIXTURE_VARIANT(abi) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(abi, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(abi, file) {
	.open = open_file,
};

FIXTURE_SETUP(abi)
{
	self->fd = variant->open(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	self->reader = open_handle(self->fd, O_RDONLY);
	self->writer = open_handle(self->fd, O_WRONLY);
	ASSERT_LE(0, self->reader);
	ASSERT_LE(0, self->writer);
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (calls[i].number == QEMUFILE_IOC_DIFF)
			calls[i].arg.diff.fd = self->reader;
		else if (calls[i].number == QEMUFILE_IOC_PUT || calls[i].number == QEMUFILE_IOC_GET ||
		    calls[i].number == QEMUFILE_IOC_PEEK)
			calls[i].arg.vector.records = (uintptr_t)&a_byte;
}

FIXTURE_TEARDOWN(abi)
{
	close(self->fd);
	close(self->reader);
	close(self->writer);
}

TEST_F(abi, an_unknown_number_is_enotty)
{
	char room[256] = {};

	for (unsigned int nr = 0; nr < 256; nr++) {
		unsigned long number = _IOC(_IOC_NONE, QEMUFILE_IOC_MAGIC, nr, 0);

		EXPECT_EQ(ENOTTY, ERRNO_OF(ioctl(self->fd, number, room)));
	}
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		unsigned long number = calls[i].number;

		/* Another size, direction or magic number is another call. */
		EXPECT_EQ(ENOTTY, ERRNO_OF(ioctl(self->fd, number ^ 4UL << _IOC_SIZESHIFT, room)));
		EXPECT_EQ(ENOTTY, ERRNO_OF(ioctl(self->fd, number & ~(3UL << _IOC_DIRSHIFT), room)));
		EXPECT_EQ(ENOTTY, ERRNO_OF(ioctl(self->fd, number ^ 1UL << _IOC_TYPESHIFT, room)));
	}
}

TEST_F(abi, what_must_be_zero_is_looked_at)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		for (size_t j = 0; j < ARRAY_LEN(calls[i].zeros) && calls[i].zeros[j]; j++) {
			for (int bit = 1; bit < 32; bit += 5) {
				struct call call = calls[i];
				uint32_t word = 1U << bit;

				memcpy(call.arg.bytes + call.zeros[j], &word, 4);
				EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, call.number, &call.arg)))
					TH_LOG("%s, word at %zu, bit %d", call.name,
					       call.zeros[j], bit);
			}
		}
	}
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(1000, length_of(self->fd));
}

TEST_F(abi, an_address_that_is_no_memory_is_efault)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct call *call = &calls[i];
		char *partly = memory_before_hole(call->size - 1);
		char *read_only = fresh_memory(PAGE);

		EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->fd, call->number, nowhere())))
			TH_LOG("%s", call->name);
		EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->fd, call->number, NULL)))
			TH_LOG("%s", call->name);
		EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->fd, call->number, -4096L)))
			TH_LOG("%s", call->name);
		memcpy(partly, &call->arg, call->size - 1);
		EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->fd, call->number, partly)))
			TH_LOG("%s", call->name);
		if (_IOC_DIR(call->number) & _IOC_READ && call->number != QEMUFILE_IOC_PUT &&
		    call->number != QEMUFILE_IOC_GET && call->number != QEMUFILE_IOC_SKIP) {
			memcpy(read_only, &call->arg, call->size);
			ASSERT_EQ(0, mprotect(read_only, PAGE, PROT_READ));
			EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->fd, call->number, read_only)))
				TH_LOG("%s", call->name);
		}
	}
}

/* Who was handed a descriptor to read from can do nothing to the stream, and the other way. */
TEST_F(abi, a_call_without_the_access_is_ebadf)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct call call = calls[i];

		EXPECT_EQ(call.access & QEMUFILE_MODE_WRITE ? EBADF : 0,
			  ERRNO_OF(ioctl(self->reader, call.number, &call.arg)))
			TH_LOG("%s on a reader", call.name);
		call = calls[i];
		EXPECT_EQ(call.access & QEMUFILE_MODE_READ ? EBADF : 0,
			  ERRNO_OF(ioctl(self->writer, call.number, &call.arg)))
			TH_LOG("%s on a writer", call.name);
	}
}

TEST_F(abi, a_reader_changes_nothing)
{
	struct qemufile_info before, after;

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &before));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct call call = calls[i];

		call.arg.bytes[0] ^= 1;
		ioctl(self->reader, call.number, &call.arg);
	}
	EXPECT_EQ(EBADF, ERRNO_OF(write(self->reader, "x", 1)));
	EXPECT_NE(0, ftruncate(self->reader, 0));
	EXPECT_NE(0, fallocate(self->reader, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10));
	EXPECT_NE(0, fchmod(self->reader, 0));
	EXPECT_NE(0, fchown(self->reader, 1, 1));
	EXPECT_NE(0, ioctl(self->reader, _IOW(0x94, 9, int), self->fd));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
}

/* All of the struct is written, whatever was in it. */
TEST_F(abi, nothing_of_the_kernels_memory_is_told)
{
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct call *call = &calls[i];
		unsigned char a[256], b[256];

		if (_IOC_DIR(call->number) != _IOC_READ)
			continue;
		memset(a, 0x00, sizeof(a));
		memset(b, 0xff, sizeof(b));
		ASSERT_EQ(0, ioctl(self->fd, call->number, a));
		ASSERT_EQ(0, ioctl(self->fd, call->number, b));
		EXPECT_EQ(0, memcmp(a, b, call->size)) TH_LOG("%s", call->name);
		EXPECT_EQ(0, a[call->size]);
		EXPECT_EQ(0xff, b[call->size]);
	}
}

TEST_HARNESS_MAIN
