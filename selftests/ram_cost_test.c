// SPDX-License-Identifier: GPL-2.0
/*
 * What a fork of memory in use costs, against a copy of a memfd in the same run: the
 * clone by the number of mapped pages, the first access after it, the memory.
 */
#include "harness.h"
#include "ram.h"

static void touch_all(volatile char *memory, size_t len, bool write)
{
	for (size_t at = 0; at < len; at += PAGE) {
		if (write)
			memory[at]++;
		else
			(void)memory[at];
	}
}

static int in_order(const void *one, const void *other)
{
	long long difference = *(const long long *)one - *(const long long *)other;

	return difference < 0 ? -1 : difference > 0;
}

/* The middle one of five. */
static long long median(long long times[5])
{
	qsort(times, 5, sizeof(*times), in_order);
	return times[2];
}

TEST(a_clone_takes_a_part_of_the_time_of_a_copy)
{
	const long long sizes[] = { 4 * MiB, 16 * MiB, 64 * MiB };

	if (clock_is_coarse())
		SKIP(return, "the clock is too coarse");
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		long long clones[5], writes[5], reads[5], copies[5], first[2], start, len = sizes[i];
		int stream = open_device(O_RDWR), memfd = memfd_create("ram", MFD_CLOEXEC);
		char *ram, *other;

		ASSERT_EQ(0, set_length(stream, len));
		ASSERT_EQ(0, ftruncate(memfd, len));
		ram = map_ram(stream, len);
		other = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
		ASSERT_NE(NULL, ram);
		ASSERT_NE(MAP_FAILED, other);
		start = now_us();
		touch_all(other, len, true);
		first[0] = now_us() - start;
		start = now_us();
		touch_all(ram, len, true);
		first[1] = now_us() - start;
		for (int round = 0; round < 5; round++) {
			int clone, copy;
			off_t from = 0;

			start = now_us();
			clone = open_clone(stream, O_RDWR);
			clones[round] = now_us() - start;
			ASSERT_LE(0, clone);
			/* Half of the pages is read first, and then written. */
			start = now_us();
			touch_all(ram, len / 2, false);
			reads[round] = now_us() - start;
			touch_all(ram, len / 2, true);
			start = now_us();
			touch_all(ram + len / 2, len / 2, true);
			writes[round] = now_us() - start;
			close(clone);

			copy = memfd_create("copy", MFD_CLOEXEC);
			start = now_us();
			ASSERT_EQ(0, ftruncate(copy, len));
			while (from < len)
				ASSERT_LT(0, copy_file_range(memfd, &from, copy, NULL, len - from, 0));
			copies[round] = now_us() - start;
			close(copy);
		}
		TH_LOG("%lld MiB: clone %lld us, copy of a memfd %lld us, %.0f times",
		       len / MiB, median(clones), median(copies),
		       (double)median(copies) / median(clones));
		TH_LOG("a page then: %.1f us to read, %.1f us to write; new, to write: %.1f us, of a memfd %.1f us",
		       2.0 * median(reads) / (len / PAGE), 2.0 * median(writes) / (len / PAGE),
		       (double)first[1] / (len / PAGE), (double)first[0] / (len / PAGE));
		EXPECT_LT(3 * median(clones), median(copies));
		munmap(ram, len);
		munmap(other, len);
		close(stream);
		close(memfd);
	}
}

/* Only what is mapped to be written, and was written since the last clone, is paid for. */
TEST(a_clone_of_memory_that_was_not_stored_to_takes_no_time)
{
	long long times[2][5];

	if (clock_is_coarse())
		SKIP(return, "the clock is too coarse");
	for (int mapped = 0; mapped < 2; mapped++) {
		int stream = open_device(O_RDWR);
		char *ram;

		ASSERT_EQ(0, set_length(stream, 128 * MiB));
		ram = map_ram(stream, 128 * MiB);
		ASSERT_NE(NULL, ram);
		touch_all(ram, 128 * MiB, true);
		close(open_clone(stream, O_RDWR));
		if (mapped)
			touch_all(ram, 128 * MiB, false);
		for (int round = 0; round < 5; round++) {
			long long start = now_us();

			close(open_clone(stream, O_RDWR));
			times[mapped][round] = now_us() - start;
		}
		munmap(ram, 128 * MiB);
		close(stream);
	}
	EXPECT_LT(median(times[1]), 5 * median(times[0]) + 200)
		TH_LOG("%lld us, mapped for reading %lld us", times[0][2], times[1][2]);
}

TEST_HARNESS_MAIN
