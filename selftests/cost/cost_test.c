// SPDX-License-Identifier: GPL-2.0
/*
 * What a call costs: no more than a constant, however long the stream, and
 * whoever else has it mapped or open.
 */
#include "harness.h"
#include "cost.h"

STREAM_FIXTURE(cost)

/* ---- mappings ---- */

#define MAPPINGS 1500

/* A write of one byte, at @pos and a step further each time, in ns. */
static long long write_ns(int fd, off_t pos, off_t step)
{
	bool failed = false;
	long long least = LEAST_NS(i, failed |= pwrite(fd, "x", 1, pos + i * step) != 1);

	return failed ? -1 : least;
}

/* Maps the first @pages of the stream over and over, and reads all of the first mapping. */
static bool map_often(int fd, int pages)
{
	for (int i = 0; i < MAPPINGS; i++) {
		volatile char *memory = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);

		if (memory == MAP_FAILED)
			return false;
		for (int page = 0; page < (i ? 1 : pages); page++)
			memory[page * PAGE];
	}
	return true;
}

/* A reader maps a page as often as it likes. The writer does not pay for it. */
TEST_F(cost, a_write_takes_no_longer_when_its_page_is_mapped_often)
{
	struct rlimit files = { .rlim_cur = 20, .rlim_max = 20 };
	int reader = open_handle(self->fd, O_RDONLY);
	long long before, after;

	ASSERT_LE(0, reader);
	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	before = write_ns(self->fd, 5, 0);
	/* A mapping takes no descriptor. */
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_TRUE(map_often(reader, 1));
	after = write_ns(self->fd, 5, 0);
	TH_LOG("%lld ns, mapped %d times %lld ns", before, MAPPINGS, after);
	EXPECT_LT(after, 2 * before);
}

/* Holes that a reader has looked at are filled as fast as others, and stay holes until then. */
TEST_F(cost, a_hole_is_filled_in_no_longer_when_it_is_mapped_often)
{
	int reader = open_handle(self->fd, O_RDONLY);
	long long before, after;

	ASSERT_LE(0, reader);
	ASSERT_EQ(1, put_at(self->fd, 60 * PAGE, 1, 1));
	before = write_ns(self->fd, 5, PAGE);
	ASSERT_TRUE(map_often(reader, 60));
	EXPECT_EQ(TRIES * PAGE, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(60 * PAGE, lseek(self->fd, 20 * PAGE, SEEK_DATA));
	after = write_ns(self->fd, 20 * PAGE + 5, PAGE);
	TH_LOG("%lld ns, mapped %d times %lld ns", before, MAPPINGS, after);
	EXPECT_LT(after, 2 * before);
}

/* ---- readers ---- */

/* A stream that is drained keeps in mind how far each reader is. A read of a byte, in ns. */
static long long drained_read_ns(int writer, int reader)
{
	bool failed = put_at(writer, lseek(reader, 0, SEEK_CUR), TRIES, 1) != TRIES;
	char byte;
	long long least = LEAST_NS(i, failed |= read(reader, &byte, 1) != 1);

	return failed ? -1 : least;
}

TEST_F(cost, a_read_takes_no_longer_among_many_readers)
{
	struct rlimit files = { .rlim_cur = 2100, .rlim_max = 2100 };
	int reader = open_handle(self->fd, O_RDONLY);
	long long few, many;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	few = drained_read_ns(self->fd, reader);
	for (int i = 0; i < 2000; i++)
		ASSERT_LE(0, open_handle(self->fd, O_RDONLY));
	many = drained_read_ns(self->fd, reader);
	TH_LOG("%lld ns a read with one reader, %lld ns with 2000", few, many);
	EXPECT_LT(0, few);
	EXPECT_LT(0, many);
	EXPECT_LT(many, 2 * few);
	close_range(reader, ~0U, 0);
}

/* ---- streams ---- */

/* SEEK_HOLE passes over what is full without looking at each page. */
TEST_F(cost, the_next_hole_is_found_in_the_same_time_for_any_length)
{
	char *memory = fresh_memory(MiB);
	long long took;

	ASSERT_NE(NULL, memory);
	memset(memory, 1, MiB);
	for (int i = 0; i < 64; i++)
		ASSERT_EQ(MiB, write(self->fd, memory, MiB));
	took = LEAST_NS(i, ASSERT_EQ(64 * MiB, lseek(self->fd, 0, SEEK_HOLE)));
	TH_LOG("%lld ns", took);
	EXPECT_LT(took, 10000);
	munmap(memory, MiB);
}

/* Of memory that nobody has changed, nothing is looked at. */
TEST_F(cost, a_diff_takes_as_long_as_there_are_changes)
{
	long long times[2];

	ASSERT_EQ(0, set_length(self->fd, 256 * MiB));
	for (int i = 0; i < 2; i++) {
		int clone;

		/* A page in each leaf, of a few, and then of many. */
		for (long long at = i ? 16 * MiB : 0; at < (i ? 256 * MiB : 16 * MiB); at += NODE)
			ASSERT_EQ(1, pwrite(self->fd, "x", 1, at));
		clone = open_clone(self->fd, O_RDWR);
		for (int page = 0; page < 8; page++)
			ASSERT_EQ(1, pwrite(clone, "y", 1, page * MiB));
		times[i] = LEAST_NS(n, ASSERT_EQ(8 * PAGE, differing(clone, self->fd)));
		close(clone);
	}
	TH_LOG("%lld ns, in a stream of 16 times as many pages %lld ns", times[0], times[1]);
	EXPECT_LT(times[1], 3 * times[0]);
}

TEST_HARNESS_MAIN
