// SPDX-License-Identifier: GPL-2.0
/*
 * What a fork of memory in use costs, against a copy of a memfd: the clone, the
 * first access after it.
 */
#include "harness.h"
#include "ram.h"
#include "cost.h"

FIXTURE(fork) {
};

FIXTURE_SETUP(fork)
{
}

FIXTURE_TEARDOWN(fork)
{
}

/* A read of each page, or a store; in ns. */
static long long touch_ns(volatile char *memory, size_t len, bool write)
{
	long long start = now_ns();

	for (size_t at = 0; at < len; at += PAGE) {
		if (write)
			memory[at]++;
		else
			(void)memory[at];
	}
	return now_ns() - start;
}

static long long clone_ns(int fd, int *clone)
{
	long long start = now_ns();

	*clone = open_clone(fd, O_RDWR);
	return now_ns() - start;
}

TEST_F(fork, takes_a_part_of_the_time_of_a_copy)
{
	const long long sizes[] = { 4 * MiB, 64 * MiB };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		const long long len = sizes[i], pages = len / PAGE;
		int stream = open_device(O_RDWR), memfd = memfd_create("ram", MFD_CLOEXEC);
		int copy = memfd_create("copy", MFD_CLOEXEC), clone;
		long long fresh[2], cloning, copying, reads, again, writes;
		char *ram, *other;
		off_t from = 0;

		ASSERT_EQ(0, set_length(stream, len));
		ASSERT_EQ(0, ftruncate(memfd, len));
		ram = map_ram(stream, len);
		other = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
		ASSERT_NE(NULL, ram);
		ASSERT_NE(MAP_FAILED, other);
		fresh[0] = touch_ns(ram, len, true);
		fresh[1] = touch_ns(other, len, true);

		cloning = clone_ns(stream, &clone);
		ASSERT_LE(0, clone);
		/* Half of the pages is read first, and then written. */
		reads = touch_ns(ram, len / 2, false);
		again = touch_ns(ram, len / 2, true);
		writes = touch_ns(ram + len / 2, len / 2, true);

		ASSERT_EQ(0, ftruncate(copy, len));
		copying = now_ns();
		while (from < len)
			ASSERT_LT(0, copy_file_range(memfd, &from, copy, NULL, len - from, 0));
		copying = now_ns() - copying;

		TH_LOG("%lld MiB: clone %lld us, copy of a memfd %lld us", len / MiB,
		       cloning / 1000, copying / 1000);
		TH_LOG("a page then: %lld ns to read, %lld to write after that, %lld to write",
		       reads * 2 / pages, again * 2 / pages, writes * 2 / pages);
		TH_LOG("a new page: %lld ns to write, of a memfd %lld", fresh[0] / pages, fresh[1] / pages);
		EXPECT_LT(8 * cloning, copying);
		EXPECT_LT(fresh[0], fresh[1] * 3 / 2);
		munmap(ram, len);
		munmap(other, len);
		close(clone);
		close(copy);
		close(stream);
		close(memfd);
	}
}

/* Only what is mapped to be written, and was written since the last clone, is paid for. */
TEST_F(fork, of_memory_that_was_not_stored_to_takes_no_time)
{
	long long times[2];

	for (int mapped = 0; mapped < 2; mapped++) {
		int stream = open_device(O_RDWR), clone;
		long long took;
		char *ram;

		ASSERT_EQ(0, set_length(stream, 128 * MiB));
		ram = map_ram(stream, 128 * MiB);
		ASSERT_NE(NULL, ram);
		touch_ns(ram, 128 * MiB, true);
		close(open_clone(stream, O_RDWR));
		if (mapped)
			touch_ns(ram, 128 * MiB, false);
		for (int round = 0; round < TRIES; round++) {
			took = clone_ns(stream, &clone);
			ASSERT_LE(0, clone);
			close(clone);
			times[mapped] = round && times[mapped] < took ? times[mapped] : took;
		}
		munmap(ram, 128 * MiB);
		close(stream);
	}
	TH_LOG("%lld ns, mapped for reading %lld ns", times[0], times[1]);
	EXPECT_LT(times[1], 2 * times[0]);
}

TEST_HARNESS_MAIN
