// SPDX-License-Identifier: GPL-2.0
/*
 * Typed values: QEMUFILE_IOC_PUT, GET, PEEK and SKIP, the RAM hooks. What is put
 * is what QEMU puts, byte for byte; the first error stays.
 */
#include <endian.h>

#include "harness.h"

STREAM_FIXTURE(typed)

#define BYTE(v)		{ .type = QEMUFILE_BYTE, .value = (v) }
#define BE16(v)		{ .type = QEMUFILE_BE16, .value = (v) }
#define BE32(v)		{ .type = QEMUFILE_BE32, .value = (v) }
#define BE64(v)		{ .type = QEMUFILE_BE64, .value = (v) }
#define BUFFER(p, n)	{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)(p), .length = (n) }

/* Makes a call on @count records; how many were done, with errno set, 0 if all were. */
static unsigned int do_records(int fd, unsigned long number, struct qemufile_record *records,
			       unsigned int count, uint64_t offset)
{
	struct qemufile_vector vector = {
		.records = (uintptr_t)records, .count = count, .offset = offset, .done = 12345,
	};

	errno = 0;
	ioctl(fd, number, &vector);
	return vector.done;
}

static unsigned int put(int fd, struct qemufile_record *records, unsigned int count)
{
	return do_records(fd, QEMUFILE_IOC_PUT, records, count, 0);
}

static unsigned int get(int fd, struct qemufile_record *records, unsigned int count)
{
	return do_records(fd, QEMUFILE_IOC_GET, records, count, 0);
}

static unsigned int peek(int fd, struct qemufile_record *records, unsigned int count,
			 uint64_t offset)
{
	return do_records(fd, QEMUFILE_IOC_PEEK, records, count, offset);
}

static long long skip(int fd, uint64_t len)
{
	struct qemufile_skip skip = { .length = len };

	return ioctl(fd, QEMUFILE_IOC_SKIP, &skip) ? -1 : (long long)skip.length;
}

static int latched(int fd)
{
	struct qemufile_error error = {};

	return ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) ? INT_MIN : error.error;
}

static int clear_error(int fd)
{
	struct qemufile_error error = {};

	return ioctl(fd, QEMUFILE_IOC_SET_ERROR, &error);
}

/* ---- what it looks like ---- */

TEST_F(typed, integers_are_big_endian)
{
	const unsigned char expected[] = {
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
		0x0f, 'Q', 'E', 'M', 'U',
	};
	struct qemufile_record records[] = {
		BYTE(0x01), BE16(0x0203), BE32(0x04050607), BE64(0x08090a0b0c0d0e0fULL),
		BUFFER("QEMU", 4),
	};
	unsigned char bytes[100];

	EXPECT_EQ(5, put(self->fd, records, 5));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(sizeof(expected), lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(sizeof(expected), pread(self->fd, bytes, 100, 0));
	EXPECT_EQ(0, memcmp(expected, bytes, sizeof(expected)));
}

/*
 * The start of a migration of QEMU 10.0.13, -M pc -m 32, as it wrote it to a
 * file: header, configuration, the memory's blocks and its first pages; and a
 * device's whole section.
 */
static const unsigned char qemus_start[] = {
	0x51, 0x45, 0x56, 0x4d, 0x00, 0x00, 0x00, 0x03, 0x07, 0x00, 0x00, 0x00,
	0x0e, 0x70, 0x63, 0x2d, 0x69, 0x34, 0x34, 0x30, 0x66, 0x78, 0x2d, 0x31,
	0x30, 0x2e, 0x30, 0x01, 0x00, 0x00, 0x00, 0x01, 0x03, 0x72, 0x61, 0x6d,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00,
	0x02, 0x08, 0x20, 0x04, 0x06, 0x70, 0x63, 0x2e, 0x72, 0x61, 0x6d, 0x00,
	0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x14, 0x2f, 0x72, 0x6f, 0x6d,
	0x40, 0x65, 0x74, 0x63, 0x2f, 0x61, 0x63, 0x70, 0x69, 0x2f, 0x74, 0x61,
	0x62, 0x6c, 0x65, 0x73, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
	0x07, 0x70, 0x63, 0x2e, 0x62, 0x69, 0x6f, 0x73, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x04, 0x00, 0x00, 0x06, 0x70, 0x63, 0x2e, 0x72, 0x6f, 0x6d, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x15, 0x2f, 0x72, 0x6f, 0x6d,
	0x40, 0x65, 0x74, 0x63, 0x2f, 0x74, 0x61, 0x62, 0x6c, 0x65, 0x2d, 0x6c,
	0x6f, 0x61, 0x64, 0x65, 0x72, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
	0x00, 0x12, 0x2f, 0x72, 0x6f, 0x6d, 0x40, 0x65, 0x74, 0x63, 0x2f, 0x61,
	0x63, 0x70, 0x69, 0x2f, 0x72, 0x73, 0x64, 0x70, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10,
	0x7e, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x06, 0x70, 0x63, 0x2e, 0x72, 0x61,
	0x6d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x22, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x22, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x30, 0x22, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40,
	0x22, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x22, 0x00,
};

static const unsigned char qemus_timer[] = {
	0x04, 0x00, 0x00, 0x00, 0x00, 0x05, 0x74, 0x69, 0x6d, 0x65, 0x72, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7e, 0x00, 0x00, 0x00, 0x00,
};

/* What qemu_savevm_state_header(), ram_save_setup() and so on call, in order. */
TEST_F(typed, a_migration_is_put_as_qemu_puts_it)
{
	/* qemu_put_counted_string() */
#define STRING(text) BYTE(sizeof(text) - 1), BUFFER(text, sizeof(text) - 1)
	struct qemufile_record records[] = {
		/* QEMU_VM_FILE_MAGIC, QEMU_VM_FILE_VERSION */
		BE32(0x5145564d), BE32(3),
		/* QEMU_VM_CONFIGURATION: the machine */
		BYTE(0x07), BE32(14), BUFFER("pc-i440fx-10.0", 14),
		/* QEMU_VM_SECTION_START, section, name, instance, version */
		BYTE(0x01), BE32(1), STRING("ram"), BE32(0), BE32(4),
		/* all bytes | RAM_SAVE_FLAG_MEM_SIZE, and each block */
		BE64(0x02082000 | 0x04),
		STRING("pc.ram"), BE64(0x02000000),
		STRING("/rom@etc/acpi/tables"), BE64(0x20000),
		STRING("pc.bios"), BE64(0x40000),
		STRING("pc.rom"), BE64(0x20000),
		STRING("/rom@etc/table-loader"), BE64(0x1000),
		STRING("/rom@etc/acpi/rsdp"), BE64(0x1000),
		/* RAM_SAVE_FLAG_EOS, QEMU_VM_SECTION_FOOTER */
		BE64(0x10), BYTE(0x7e), BE32(1),
		/* QEMU_VM_SECTION_PART; RAM_SAVE_FLAG_ZERO, then | RAM_SAVE_FLAG_CONTINUE */
		BYTE(0x02), BE32(1),
		BE64(0x02), STRING("pc.ram"), BYTE(0),
		BE64(0x1000 | 0x22), BYTE(0),
		BE64(0x2000 | 0x22), BYTE(0),
		BE64(0x3000 | 0x22), BYTE(0),
		BE64(0x4000 | 0x22), BYTE(0),
		BE64(0x5000 | 0x22), BYTE(0),
	};
	struct qemufile_record timer[] = {
		/* QEMU_VM_SECTION_FULL, section, name, instance, version */
		BYTE(0x04), BE32(0), STRING("timer"), BE32(0), BE32(2),
		/* cpu_ticks_offset, eight unused bytes, cpu_clock_offset */
		BE64(0), BUFFER("\0\0\0\0\0\0\0", 8), BE64(0),
		BYTE(0x7e), BE32(0),
	};
	unsigned char bytes[sizeof(qemus_start) + sizeof(qemus_timer)];

	EXPECT_EQ(ARRAY_LEN(records), put(self->fd, records, ARRAY_LEN(records)));
	EXPECT_EQ(ARRAY_LEN(timer), put(self->fd, timer, ARRAY_LEN(timer)));
	EXPECT_EQ((long long)sizeof(bytes), length_of(self->fd));
	ASSERT_EQ((ssize_t)sizeof(bytes), pread(self->fd, bytes, sizeof(bytes), 0));
	EXPECT_EQ(0, memcmp(qemus_start, bytes, sizeof(qemus_start)));
	EXPECT_EQ(0, memcmp(qemus_timer, bytes + sizeof(qemus_start), sizeof(qemus_timer)));
}

TEST_F(typed, a_migration_of_qemu_is_got)
{
	char machine[14], ram[3];
	struct qemufile_record records[] = {
		BE32(0), BE32(0), BYTE(0), BE32(0), BUFFER(machine, 14),
		BYTE(0), BE32(0), BYTE(0), BUFFER(ram, 3), BE32(0), BE32(0), BE64(0),
	};

	ASSERT_EQ((ssize_t)sizeof(qemus_start),
		  pwrite(self->fd, qemus_start, sizeof(qemus_start), 0));
	EXPECT_EQ(ARRAY_LEN(records), get(self->fd, records, ARRAY_LEN(records)));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0x5145564d, records[0].value);
	EXPECT_EQ(3, records[1].value);
	EXPECT_EQ(7, records[2].value);
	EXPECT_EQ(14, records[3].value);
	EXPECT_EQ(0, memcmp("pc-i440fx-10.0", machine, 14));
	EXPECT_EQ(14, records[4].length);
	EXPECT_EQ(1, records[5].value);
	EXPECT_EQ(3, records[7].value);
	EXPECT_EQ(0, memcmp("ram", ram, 3));
	EXPECT_EQ(4, records[10].value);
	EXPECT_EQ(0x02082004, records[11].value);
}

/* Values of all types, put and got in vectors of other lengths. */
TEST_F(typed, what_is_put_is_got)
{
	enum { COUNT = 5000 };
	static struct qemufile_record in[COUNT], out[COUNT];
	static unsigned char bytes[COUNT][300], copy[COUNT][300];
	const uint64_t masks[] = { 0xff, 0xffff, 0xffffffff, ~0ULL };
	unsigned int seed = 1;
	long long pos = 0;

	for (int i = 0; i < COUNT; i++) {
		in[i].type = out[i].type = draw(&seed, 5);
		if (in[i].type == QEMUFILE_BUFFER) {
			in[i].length = out[i].length = draw(&seed, 300);
			in[i].value = (uintptr_t)fill(bytes[i], in[i].length, 1000 * i, 1);
			out[i].value = (uintptr_t)copy[i];
			pos += in[i].length;
		} else {
			in[i].value = word_at(i, 1) & masks[in[i].type];
			pos += 1 << in[i].type;
		}
	}
	for (int done = 0; done < COUNT;) {
		int count = 1 + draw(&seed, COUNT - done < 1024 ? COUNT - done : 1024);

		ASSERT_EQ(count, put(self->fd, in + done, count)) TH_LOG("%m");
		done += count;
	}
	EXPECT_EQ(pos, length_of(self->fd));
	EXPECT_EQ(pos, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	for (int done = 0; done < COUNT;) {
		int count = 1 + draw(&seed, COUNT - done < 1024 ? COUNT - done : 1024);

		ASSERT_EQ(count, get(self->fd, out + done, count)) TH_LOG("%m");
		done += count;
	}
	EXPECT_EQ(pos, lseek(self->fd, 0, SEEK_CUR));
	for (int i = 0; i < COUNT; i++) {
		if (in[i].type == QEMUFILE_BUFFER) {
			ASSERT_EQ(0, memcmp(bytes[i], copy[i], in[i].length));
		} else {
			ASSERT_EQ(in[i].value, out[i].value) TH_LOG("record %d", i);
		}
	}
}

TEST_F(typed, buffers_of_any_length)
{
	const long long lens[] = { 0, 1, PAGE, CHUNK + 1, 32 * KiB, 3 * MiB + 7 };
	char *memory = fresh_memory(4 * MiB), *copy = fresh_memory(4 * MiB);

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		struct qemufile_record in[] = { BE16(0xabcd), BUFFER(memory, lens[i]), BYTE(0xee) };
		struct qemufile_record out[] = { BE16(0), BUFFER(copy, lens[i]), BYTE(0) };
		off_t pos = lseek(self->fd, 0, SEEK_CUR);

		fill(memory, lens[i], 0, 1 + i);
		ASSERT_EQ(3, put(self->fd, in, 3)) TH_LOG("%lld: %m", lens[i]);
		ASSERT_EQ(pos + lens[i] + 3, lseek(self->fd, 0, SEEK_CUR));
		ASSERT_EQ(pos, lseek(self->fd, pos, SEEK_SET));
		ASSERT_EQ(3, get(self->fd, out, 3)) TH_LOG("%lld: %m", lens[i]);
		ASSERT_EQ(0xabcd, out[0].value);
		ASSERT_EQ(lens[i], right(copy, lens[i], 0, 1 + i));
		ASSERT_EQ(lens[i], (long long)out[1].length);
		ASSERT_EQ(0xee, out[2].value);
	}
}

TEST_F(typed, is_where_plain_calls_are)
{
	struct qemufile_record in[] = { BE32(0x51454d55) }, out[] = { BE32(0) };
	char bytes[100];

	ASSERT_EQ(10, write(self->fd, fill(bytes, 10, 0, 1), 10));
	EXPECT_EQ(1, put(self->fd, in, 1));
	EXPECT_EQ(14, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(10, write(self->fd, fill(bytes, 10, 14, 1), 10));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(1, get(self->fd, out, 1));
	EXPECT_EQ(0x51454d55, out[0].value);
	EXPECT_EQ(10, read(self->fd, bytes, 100));
	EXPECT_EQ(10, right(bytes, 10, 14, 1));
	EXPECT_EQ(24, length_of(self->fd));
	/* Past the end, over a hole. */
	ASSERT_EQ(1000, lseek(self->fd, 1000, SEEK_SET));
	EXPECT_EQ(1, put(self->fd, in, 1));
	EXPECT_EQ(976, right_at(self->fd, 24, 976, ZEROS));
	ASSERT_EQ(998, lseek(self->fd, 998, SEEK_SET));
	EXPECT_EQ(1, get(self->fd, out, 1));
	EXPECT_EQ(0x5145, out[0].value);
}

TEST_F(typed, o_append_puts_at_the_end)
{
	struct qemufile_record in[] = { BE32(0x51454d55), BYTE(7) };
	unsigned char bytes[5];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(2, put(self->fd, in, 2));
	EXPECT_EQ(105, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	ASSERT_EQ(5, pread(self->fd, bytes, 5, 100));
	EXPECT_EQ(0, memcmp("QEMU\7", bytes, 5));
}

/* ---- what is wrong ---- */

TEST_F(typed, vectors_have_1024_records_at_the_most)
{
	static struct qemufile_record records[1025];

	EXPECT_EQ(0, put(self->fd, records, 0));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, put(self->fd, NULL, 0));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(1024, put(self->fd, records, 1024));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(1024, length_of(self->fd));
	put(self->fd, records, 1025);
	EXPECT_EQ(E2BIG, errno);
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	get(self->fd, records, 1025);
	EXPECT_EQ(E2BIG, errno);
	peek(self->fd, records, 1025, 0);
	EXPECT_EQ(E2BIG, errno);
	put(self->fd, records, ~0U);
	EXPECT_EQ(E2BIG, errno);
	EXPECT_EQ(1024, length_of(self->fd));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, latched(self->fd));
}

TEST_F(typed, a_wrong_record_is_einval_and_those_before_it_are_done)
{
	const struct qemufile_record wrong[] = {
		{ .type = 5 },
		{ .type = ~0U },
		{ .type = QEMUFILE_BYTE, .value = 0x100 },
		{ .type = QEMUFILE_BYTE, .value = ~0ULL },
		{ .type = QEMUFILE_BE16, .value = 0x10000 },
		{ .type = QEMUFILE_BE32, .value = 0x100000000ULL },
		{ .type = QEMUFILE_BYTE, .flags = 1 },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)"x", .length = 1, .flags = 1U << 31 },
		{ .type = QEMUFILE_BE64, .length = 8 },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)"x", .length = ~0ULL },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)"x", .length = 1ULL << 63 },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct qemufile_record records[] = { BE16(0x5145), BE16(0x4d55), wrong[i], BYTE(1) };
		off_t pos = lseek(self->fd, 0, SEEK_END);

		EXPECT_EQ(2, put(self->fd, records, 4)) TH_LOG("%zu", i);
		EXPECT_EQ(EINVAL, errno) TH_LOG("%zu", i);
		EXPECT_EQ(pos + 4, length_of(self->fd));
		EXPECT_EQ(pos + 4, lseek(self->fd, 0, SEEK_CUR));
		EXPECT_EQ(wrong[i].length, records[2].length);
	}
	/* It was the call that was wrong. */
	EXPECT_EQ(0, latched(self->fd));
	/* An offset is for peeking only. */
	EXPECT_EQ(0, do_records(self->fd, QEMUFILE_IOC_PUT, &(struct qemufile_record)BYTE(1), 1, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, do_records(self->fd, QEMUFILE_IOC_GET, &(struct qemufile_record)BYTE(1), 1, 1));
	EXPECT_EQ(EINVAL, errno);
}

/* Records that end where there is no memory, at each place of the vector. */
TEST_F(typed, a_vector_that_faults_is_efault_and_what_was_done_is_told)
{
	for (int good = 0; good < 20; good++) {
		struct qemufile_record *records = memory_before_hole(good * sizeof(*records));
		int fd = variant->open(O_RDWR);

		ASSERT_LE(0, fd);
		for (int i = 0; i < good; i++)
			records[i] = (struct qemufile_record)BE32(i);
		EXPECT_EQ(good, put(fd, records, 20));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(4 * good, length_of(fd));
		EXPECT_EQ(4 * good, lseek(fd, 0, SEEK_CUR));
		close(fd);

		/* And for what is got. */
		fd = variant->open(O_RDWR);
		ASSERT_EQ(100, put_at(fd, 0, 100, 1));
		for (int i = 0; i < good; i++)
			records[i] = (struct qemufile_record)BYTE(0);
		EXPECT_EQ(good, get(fd, records, 20));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(good, lseek(fd, 0, SEEK_CUR));
		for (int i = 0; i < good; i++) {
			EXPECT_EQ(byte_at(i, 1), records[i].value);
		}
		close(fd);
	}
}

TEST_F(typed, a_buffer_that_faults_is_efault_and_what_was_moved_is_told)
{
	const long long goods[] = { 0, 1, 100, PAGE, CHUNK + 5 };

	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		char *memory = memory_before_hole(goods[i]);
		struct qemufile_record in[] = {
			BE32(1), BUFFER(memory, goods[i] + 100), BE32(2),
		};
		struct qemufile_record out[] = {
			BYTE(1), BUFFER(memory, goods[i] + 100), BE32(2),
		};
		int fd = variant->open(O_RDWR);

		ASSERT_LE(0, fd);
		fill(memory, goods[i], 4, 1);
		EXPECT_EQ(1, put(fd, in, 3));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(goods[i], (long long)in[1].length);
		EXPECT_EQ(4 + goods[i], length_of(fd));
		EXPECT_EQ(4 + goods[i], lseek(fd, 0, SEEK_CUR));
		EXPECT_EQ(goods[i], right_at(fd, 4, goods[i], 1));
		close(fd);

		fd = variant->open(O_RDWR);
		ASSERT_EQ(MiB, put_at(fd, 0, MiB, 2));
		EXPECT_EQ(1, get(fd, out, 3));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(goods[i], (long long)out[1].length);
		EXPECT_EQ(1 + goods[i], lseek(fd, 0, SEEK_CUR));
		EXPECT_EQ(goods[i], right(memory, goods[i], 1, 2));
		close(fd);
	}
}

TEST_F(typed, without_the_access_is_ebadf)
{
	int reader = variant->open(O_RDONLY), writer = variant->open(O_WRONLY);
	struct qemufile_record record = BYTE(1);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	put(reader, &record, 1);
	EXPECT_EQ(EBADF, errno);
	put(reader, &record, 0);
	EXPECT_EQ(EBADF, errno);
	get(writer, &record, 1);
	EXPECT_EQ(EBADF, errno);
	peek(writer, &record, 1, 0);
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(EBADF, ERRNO_OF(skip(writer, 1)));
	EXPECT_EQ(0, latched(reader));
	EXPECT_EQ(0, latched(writer));
	close(reader);
	close(writer);
}

/* ---- the error that stays ---- */

TEST_F(typed, past_the_end_is_eio_and_stays)
{
	struct qemufile_record out[] = { BE32(0), BE32(0) }, in = BYTE(1);
	char bytes[10];

	ASSERT_EQ(6, put_at(self->fd, 0, 6, 1));
	EXPECT_EQ(1, get(self->fd, out, 2));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-EIO, latched(self->fd));
	/* The value of which a part was there is not taken. */
	EXPECT_EQ(4, lseek(self->fd, 0, SEEK_CUR));
	/* Every later call does nothing but say so. */
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(0, get(self->fd, out, 1));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, peek(self->fd, out, 1, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, put(self->fd, &in, 1));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(EIO, ERRNO_OF(skip(self->fd, 1)));
	EXPECT_EQ(6, length_of(self->fd));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	/* Plain calls are not bound by it. */
	EXPECT_EQ(6, read(self->fd, bytes, 10));
	EXPECT_EQ(0, read(self->fd, bytes, 10));
	EXPECT_EQ(1, write(self->fd, "x", 1));
	EXPECT_EQ(EIO, ERRNO_OF(fsync(self->fd)));
	/* Until it is cleared. */
	ASSERT_EQ(0, clear_error(self->fd));
	EXPECT_EQ(1, put(self->fd, &in, 1));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(8, length_of(self->fd));
}

TEST_F(typed, a_buffer_past_the_end_tells_what_there_was)
{
	char bytes[100] = {};
	struct qemufile_record out[] = { BUFFER(bytes, 100) };

	ASSERT_EQ(30, put_at(self->fd, 0, 30, 1));
	EXPECT_EQ(0, get(self->fd, out, 1));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(30, out[0].length);
	EXPECT_EQ(30, right(bytes, 30, 0, 1));
	EXPECT_EQ(-EIO, latched(self->fd));
}

TEST_F(typed, an_error_of_a_plain_write_stays_as_well)
{
	struct qemufile_record in = BYTE(1);
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};

	ASSERT_EQ(4, writev(self->fd, iov, 2));
	EXPECT_EQ(0, put(self->fd, &in, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(4, length_of(self->fd));
}

TEST_F(typed, no_room_is_enospc_and_stays)
{
	struct qemufile_limit limit = { .limit = 10 };
	struct qemufile_record in[] = { BE32(1), BE32(2), BE32(3), BE32(4) };

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	EXPECT_EQ(2, put(self->fd, in, 4));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(-ENOSPC, latched(self->fd));
	limit.limit = 0;
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	EXPECT_EQ(0, put(self->fd, in, 1));
	EXPECT_EQ(ENOSPC, errno);
	ASSERT_EQ(0, clear_error(self->fd));
	EXPECT_EQ(1, put(self->fd, in + 2, 1));
	ASSERT_EQ(8, lseek(self->fd, 8, SEEK_SET));
	EXPECT_EQ(1, get(self->fd, in, 1));
	EXPECT_EQ(3, in[0].value);
}

TEST_F(typed, a_sealed_stream_is_eperm_and_that_does_not_stay)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	struct qemufile_record in = BYTE(1), out = BYTE(0);

	EXPECT_EQ(1, put(self->fd, &in, 1));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(0, put(self->fd, &in, 1));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, latched(self->fd));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(1, get(self->fd, &out, 1));
	EXPECT_EQ(1, out.value);
}

/* ---- peeking and skipping ---- */

TEST_F(typed, peeking_leaves_the_position)
{
	unsigned char bytes[10];
	struct qemufile_record out[] = { BYTE(0), BE16(0), BUFFER(bytes, 10), BE64(0) };
	uint64_t expected;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(20, lseek(self->fd, 20, SEEK_SET));
	EXPECT_EQ(4, peek(self->fd, out, 4, 5));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(20, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(byte_at(25, 1), out[0].value);
	EXPECT_EQ(byte_at(26, 1) << 8 | byte_at(27, 1), (int)out[1].value);
	EXPECT_EQ(10, right(bytes, 10, 28, 1));
	ASSERT_EQ(8, pread(self->fd, &expected, 8, 38));
	EXPECT_EQ(be64toh(expected), out[3].value);
	/* Far from the position, too. */
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	ASSERT_EQ(10, put_at(self->fd, MiB, 10, 1));
	EXPECT_EQ(1, peek(self->fd, out, 1, MiB + 9));
	EXPECT_EQ(byte_at(MiB + 9, 1), out[0].value);
	EXPECT_EQ(0, peek(self->fd, out, 1, ~0ULL));
	EXPECT_NE(0, errno);
}

TEST_F(typed, peeking_past_the_end_is_eio)
{
	struct qemufile_record out[] = { BYTE(0), BE32(0) };

	ASSERT_EQ(4, put_at(self->fd, 0, 4, 1));
	EXPECT_EQ(1, peek(self->fd, out, 2, 0));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(typed, skipping_passes_over_what_there_is)
{
	struct qemufile_record out = BYTE(0);

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	EXPECT_EQ(0, skip(self->fd, 0));
	EXPECT_EQ(500, skip(self->fd, 500));
	EXPECT_EQ(500, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(1, get(self->fd, &out, 1));
	EXPECT_EQ(byte_at(500, 1), out.value);
	EXPECT_EQ(MiB - 601, skip(self->fd, MiB - 601));
	EXPECT_EQ(100, skip(self->fd, 200));
	EXPECT_EQ(0, skip(self->fd, 200));
	EXPECT_EQ(0, skip(self->fd, ~0ULL));
	EXPECT_EQ(MiB, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, latched(self->fd));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(MiB, skip(self->fd, ~0ULL));
}

/* ---- waiting ---- */

struct pending_get {
	int fd;
	struct qemufile_record record;
	unsigned int done;
	int error;
	atomic_int tid;
	atomic_int over;
	pthread_t thread;
};

static void *do_pending_get(void *arg)
{
	struct pending_get *call = arg;

	call->tid = my_tid();
	call->done = get(call->fd, &call->record, 1);
	call->error = errno;
	call->over = 1;
	return NULL;
}

static bool get_waits(struct pending_get *call, int fd, unsigned int type)
{
	*call = (struct pending_get){ .fd = fd, .record = { .type = type } };
	return !pthread_create(&call->thread, NULL, do_pending_get, call) &&
	       is_set_within(&call->tid, 5000) && sleeps_in(call->tid, SYS_ioctl) && !call->over;
}

TEST_F(typed, a_value_is_waited_for_until_it_is_whole)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct pending_get call;

	ASSERT_LE(0, reader);
	ASSERT_TRUE(get_waits(&call, reader, QEMUFILE_BE32));
	ASSERT_EQ(1, write(self->fd, "Q", 1));
	ASSERT_EQ(2, write(self->fd, "EM", 2));
	ASSERT_TRUE(sleeps_in(call.tid, SYS_ioctl));
	EXPECT_EQ(0, call.over);
	ASSERT_EQ(1, write(self->fd, "U", 1));
	ASSERT_TRUE(is_set_within(&call.over, 5000));
	pthread_join(call.thread, NULL);
	EXPECT_EQ(1, call.done);
	EXPECT_EQ(0x51454d55, call.record.value);
	close(reader);
}

TEST_F(typed, what_will_not_come_whole_is_eio)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct pending_get call;

	ASSERT_LE(0, reader);
	ASSERT_TRUE(get_waits(&call, reader, QEMUFILE_BE32));
	ASSERT_EQ(3, write(self->fd, "QEM", 3));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_TRUE(is_set_within(&call.over, 5000));
	pthread_join(call.thread, NULL);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(EIO, call.error);
	EXPECT_EQ(0, lseek(reader, 0, SEEK_CUR));
	close(reader);
}

TEST_F(typed, what_is_not_there_yet_is_eagain_with_o_nonblock)
{
	int reader = open_handle(self->fd, O_RDONLY | O_NONBLOCK);
	struct qemufile_record out[] = { BE16(0), BE32(0) };

	ASSERT_LE(0, reader);
	EXPECT_EQ(0, get(reader, out, 2));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(5, write(self->fd, "QEMUq", 5));
	EXPECT_EQ(1, get(reader, out, 2));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(2, lseek(reader, 0, SEEK_CUR));
	EXPECT_EQ(0, latched(reader));
	ASSERT_EQ(1, write(self->fd, "e", 1));
	EXPECT_EQ(1, get(reader, out + 1, 1));
	EXPECT_EQ(0x4d557165, out[1].value);
	close(reader);
}

TEST_F(typed, a_signal_interrupts_and_costs_nothing)
{
	struct sigaction action = { .sa_handler = on_signal };
	int reader = open_handle(self->fd, O_RDONLY);
	struct qemufile_record out = BE32(0);
	struct pending_get call;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(2, write(self->fd, "QE", 2));
	ASSERT_TRUE(get_waits(&call, reader, QEMUFILE_BE32));
	ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
	ASSERT_TRUE(is_set_within(&call.over, 5000));
	pthread_join(call.thread, NULL);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(EINTR, call.error);
	EXPECT_EQ(0, lseek(reader, 0, SEEK_CUR));
	EXPECT_EQ(0, latched(reader));
	ASSERT_EQ(2, write(self->fd, "MU", 2));
	EXPECT_EQ(1, get(reader, &out, 1));
	EXPECT_EQ(0x51454d55, out.value);
	close(reader);
}

/* ---- many at once ---- */

struct putter {
	int fd;
	unsigned int who, vectors;
	int failed;
};

static void *put_many(void *arg)
{
	struct putter *putter = arg;
	unsigned char bytes[64];

	pin_to(putter->who);
	memset(bytes, 'a' + putter->who, sizeof(bytes));
	for (unsigned int i = 0; i < putter->vectors; i++) {
		struct qemufile_record records[] = {
			BE32(putter->who), BE32(i), BYTE(i % 64), BUFFER(bytes, i % 64),
		};

		putter->failed |= put(putter->fd, records, 4) != 4;
	}
	return NULL;
}

/* A vector is one piece: nobody gets in between, and nothing is lost. */
TEST_F(typed, threads_that_put_through_one_file_lose_nothing)
{
	const unsigned int vectors = clock_is_coarse() ? 400 : 2000;
	struct putter putters[4];
	pthread_t threads[4];
	unsigned int next[4] = {};

	for (int i = 0; i < 4; i++) {
		putters[i] = (struct putter){ .fd = self->fd, .who = i, .vectors = vectors };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, put_many, &putters[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, putters[i].failed);
	}
	EXPECT_EQ(length_of(self->fd), lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	for (unsigned int i = 0; i < 4 * vectors; i++) {
		struct qemufile_record head[] = { BE32(0), BE32(0), BYTE(0) };
		unsigned char bytes[64];

		ASSERT_EQ(3, get(self->fd, head, 3));
		ASSERT_GT(4, head[0].value);
		ASSERT_EQ(next[head[0].value], head[1].value);
		ASSERT_EQ(head[1].value % 64, head[2].value);
		next[head[0].value]++;
		ASSERT_EQ((ssize_t)head[2].value, read(self->fd, bytes, head[2].value));
		for (unsigned int j = 0; j < head[2].value; j++) {
			ASSERT_EQ('a' + head[0].value, bytes[j]);
		}
	}
}

/* ---- what is gathered ---- */

struct header_writer {
	int fd;
	atomic_int stop;
};

enum { HEADER = 4 + 4 + 1 + 4 + 14 + 1 + 4 + 1 + 3 + 4 };

static void *put_headers(void *arg)
{
	struct header_writer *writer = arg;
	struct qemufile_record records[] = {
		BE32(0x5145564d), BE32(3), BYTE(7), BE32(14), BUFFER("pc-i440fx-10.0", 14),
		BYTE(1), BE32(1), BYTE(3), BUFFER("ram", 3), BE32(4),
	};

	pin_to(1);
	while (!writer->stop) {
		if (put(writer->fd, records, 10) != 10)
			return "failed";
	}
	return NULL;
}

/* One change of the stream, so that whoever looks meanwhile sees whole headers. */
TEST_F(typed, a_header_is_put_in_one_piece)
{
	struct header_writer writer = { .fd = self->fd };
	long long end = now_ms() + RACE_MS, torn = 0, seen = 0;
	int reader = open_handle(self->fd, O_RDONLY);
	pthread_t thread;
	void *result;

	ASSERT_LE(0, reader);
	pin_to(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, put_headers, &writer));
	while (now_ms() < end || seen < 100) {
		torn += info_of(reader).length % HEADER != 0;
		seen++;
	}
	writer.stop = 1;
	pthread_join(thread, &result);
	EXPECT_EQ(NULL, result);
	EXPECT_EQ(0, torn) TH_LOG("of %lld", seen);
	close(reader);
}

/* More pieces than are gathered at a time, and buffers that are neighbours. */
TEST_F(typed, many_buffers_are_put_in_order)
{
	struct qemufile_record records[600];
	char memory[800], *expected = fresh_memory(PAGE), *bytes = fresh_memory(PAGE);
	size_t len = 0;

	fill(memory, sizeof(memory), 0, 1);
	for (int i = 0; i < 200; i++) {
		records[3 * i] = (struct qemufile_record)BYTE(i);
		expected[len++] = i;
		records[3 * i + 1] = (struct qemufile_record)BUFFER(memory + 4 * i, i % 4);
		records[3 * i + 2] = (struct qemufile_record)BUFFER(memory + 4 * i + i % 4, 4 - i % 4);
		memcpy(expected + len, memory + 4 * i, 4);
		len += 4;
	}
	EXPECT_EQ(600, put(self->fd, records, 600));
	EXPECT_EQ(len, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ((ssize_t)len, pread(self->fd, bytes, PAGE, 0));
	EXPECT_EQ(0, memcmp(expected, bytes, len));
}

/* Of two neighbours, too, the second of which is not there. */
TEST_F(typed, a_fault_costs_the_record_that_it_is_in)
{
	char *memory = memory_before_hole(100);
	struct qemufile_record records[] = {
		BE32(1), BUFFER(memory, 60), BUFFER(memory + 60, 40), BUFFER("", 0),
		BUFFER(memory + 100, 10), BE32(2),
	};
	struct qemufile_record half[] = {
		BE32(1), BUFFER(memory, 60), BUFFER(memory + 60, 50), BE32(2),
	};
	struct qemufile_record wild[] = {
		BE32(1), BUFFER(~0ULL - 5, 3), BE32(2),
	};

	fill(memory, 100, 4, 1);
	EXPECT_EQ(4, put(self->fd, records, 6));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, records[4].length);
	EXPECT_EQ(104, length_of(self->fd));
	EXPECT_EQ(104, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(100, right_at(self->fd, 4, 100, 1));
	/* A wrong address costs nothing; a part of a buffer does. */
	EXPECT_EQ(0, latched(self->fd));
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(2, put(self->fd, half, 4));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(40, half[2].length);
	EXPECT_EQ(104, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(-EFAULT, latched(self->fd));
	ASSERT_EQ(0, clear_error(self->fd));
	EXPECT_EQ(1, put(self->fd, wild, 3));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, wild[1].length);
	EXPECT_EQ(108, length_of(self->fd));
	EXPECT_EQ(0, latched(self->fd));
}

/* An integer is there whole or not at all, wherever the room ends. */
TEST_F(typed, no_integer_is_cut_by_the_limit)
{
	for (int room = 0; room <= 24; room++) {
		struct qemufile_record in[] = {
			BE32(1), BE16(2), BUFFER("buffer", 6), BE64(3), BE32(4),
		};
		const int ends[] = { 4, 6, 12, 20, 24 };
		struct qemufile_limit limit = { .limit = room };
		int fd = variant->open(O_RDWR), done = 0, len = 0;

		ASSERT_LE(0, fd);
		/* The limit 0 would be none. */
		if (room == 0) {
			limit.limit = 1;
			ASSERT_EQ(1, write(fd, "x", 1));
			ASSERT_EQ(1, lseek(fd, 0, SEEK_CUR));
		}
		while (done < 5 && ends[done] <= room)
			len = ends[done++];
		if (done == 2)
			len = room;	/* a part of the buffer */
		ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit));
		EXPECT_EQ(done, (int)put(fd, in, 5)) TH_LOG("room %d", room);
		EXPECT_EQ(done == 5 ? 0 : ENOSPC, errno);
		EXPECT_EQ(len + (room == 0), length_of(fd)) TH_LOG("room %d", room);
		EXPECT_EQ(len + (room == 0), lseek(fd, 0, SEEK_CUR));
		EXPECT_EQ(done == 2 ? len - 6 : 6, (int)in[2].length);
		close(fd);
	}
}

/* It could not be waited for. */
TEST_F(typed, an_integer_longer_than_the_limit_of_a_drained_stream_is_enospc)
{
	struct qemufile_limit limit = { .limit = 4 };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_record in[] = { BE32(1), BE64(2) };
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	EXPECT_EQ(1, put(self->fd, in, 2));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(4, length_of(self->fd));
	close(reader);
}

struct late_reader {
	int fd;
	uint64_t value;
	int failed;
};

static void *read_be64s(void *arg)
{
	struct late_reader *reader = arg;
	struct qemufile_record out = BE64(0);

	for (; reader->value < 100; reader->value++)
		reader->failed |= get(reader->fd, &out, 1) != 1 || out.value != reader->value;
	return NULL;
}

/* The writer waits for room for a whole integer each time. */
TEST_F(typed, a_vector_longer_than_the_limit_of_a_drained_stream_goes_through)
{
	struct qemufile_limit limit = { .limit = 20 };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_record in[100];
	struct late_reader reader = { .fd = open_handle(self->fd, O_RDONLY) };
	pthread_t thread;

	ASSERT_LE(0, reader.fd);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	for (int i = 0; i < 100; i++)
		in[i] = (struct qemufile_record)BE64(i);
	/* Without waiting, as many as there is room for. */
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(2, put(self->fd, in, 100));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(16, length_of(self->fd));
	EXPECT_EQ(0, latched(self->fd));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_be64s, &reader));
	EXPECT_EQ(98, put(self->fd, in + 2, 98)) TH_LOG("%m");
	pthread_join(thread, NULL);
	EXPECT_EQ(0, reader.failed);
	close(reader.fd);
}

/* Nor by a rate. */
TEST_F(typed, a_rate_cuts_no_integer)
{
	struct qemufile_rate rate = {
		.op = QEMUFILE_RATE_SET, .limit = 120, .flags = QEMUFILE_RATE_KEEP,
	};
	struct qemufile_record in[] = { BE64(1), BE64(2), BE64(3), BE64(4) };

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(1, put(self->fd, in, 4));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(8, length_of(self->fd));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_EQ(3, put(self->fd, in + 1, 3));
	EXPECT_EQ(32, length_of(self->fd));
}

/* What GET reads ahead of a buffer or a fault it has not passed. */
TEST_F(typed, what_was_read_ahead_is_not_passed)
{
	struct qemufile_record *records = memory_before_hole(2 * sizeof(*records));
	char bytes[10];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	records[0] = (struct qemufile_record)BE32(0);
	records[1] = (struct qemufile_record)BUFFER(bytes, 10);
	EXPECT_EQ(2, get(self->fd, records, 3));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(14, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(10, right(bytes, 10, 4, 1));
	EXPECT_EQ(10, read(self->fd, bytes, 10));
	EXPECT_EQ(10, right(bytes, 10, 14, 1));
}

/* ---- rates and hooks ---- */

TEST_F(typed, what_is_put_counts_against_the_rate)
{
	struct qemufile_rate rate = { .op = QEMUFILE_RATE_SET, .limit = 10 };
	struct qemufile_record in[] = { BE64(1), BUFFER("QEMU", 4) };

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate));
	EXPECT_EQ(2, put(self->fd, in, 2));
	rate = (struct qemufile_rate){ .op = QEMUFILE_RATE_GET };
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate));
	EXPECT_EQ(12, rate.xfer);
	EXPECT_EQ(1, rate.exceeded);
}

TEST_F(typed, the_backend_has_no_way_of_its_own_to_save_pages)
{
	struct qemufile_save_page page = { .offset = 4096, .size = 4096, .bytes_sent = 77 };

	EXPECT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SAVE_PAGE, &page));
	EXPECT_EQ(QEMUFILE_SAVE_PAGE_NOT_SUPP, page.result);
	EXPECT_EQ(0, page.bytes_sent);
	EXPECT_EQ(0, length_of(self->fd));
	EXPECT_EQ(0, latched(self->fd));
}

TEST_F(typed, the_backends_hooks_do_nothing)
{
	const unsigned int ops[] = { QEMUFILE_RAM_BEFORE_ITERATE, QEMUFILE_RAM_AFTER_ITERATE };
	struct qemufile_ram_control control = {};

	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		control = (struct qemufile_ram_control){ .op = ops[i], .hook_flags = 123 };
		EXPECT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_RAM_CONTROL, &control));
	}
	EXPECT_EQ(0, latched(self->fd));
	control = (struct qemufile_ram_control){ .op = 3 };
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_RAM_CONTROL, &control)));
	EXPECT_EQ(0, latched(self->fd));
	/* A stream that asks for a hook cannot be loaded, as QEMU has it. */
	control = (struct qemufile_ram_control){ .op = QEMUFILE_RAM_LOAD_HOOK };
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_RAM_CONTROL, &control)));
	EXPECT_EQ(-EINVAL, latched(self->fd));
}

struct late_put {
	int fd;
	ssize_t done;
};

static void *signal_then_put(void *arg)
{
	struct late_put *put = arg;

	sleep_ms(200);
	kill(getpid(), SIGALRM);
	sleep_ms(200);
	put->done = put_at(put->fd, 0, 8, 1);
	return NULL;
}

/* A call that is restarted after a signal asks for what it asked for at first. */
TEST_F(typed, a_restarted_get_gets_all)
{
	char bytes[8] = "";
	struct qemufile_record record = {
		.type = QEMUFILE_BUFFER, .value = (uintptr_t)bytes, .length = 8,
	};
	struct qemufile_vector vector = { .records = (uintptr_t)&record, .count = 1 };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct late_put put = { .fd = self->fd };
	sigset_t alarm_only;
	int reader = open_handle(self->fd, O_RDONLY);
	pthread_t thread;

	ASSERT_LE(0, reader);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	/* The signal is for this thread. */
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &alarm_only, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_then_put, &put));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL));
	EXPECT_EQ(0, ioctl(reader, QEMUFILE_IOC_GET, &vector));
	EXPECT_EQ(1, vector.done);
	EXPECT_EQ(8, record.length);
	EXPECT_EQ(8, right(bytes, 8, 0, 1));
	pthread_join(thread, NULL);
	close(reader);
}

TEST_HARNESS_MAIN
