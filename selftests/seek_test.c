// SPDX-License-Identifier: GPL-2.0
/* lseek(2): the position, and where there is data. */
#include "harness.h"

STREAM_FIXTURE(seek)

TEST_F(seek, counts_from_start_position_and_end)
{
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_END));
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(300, lseek(self->fd, 300, SEEK_SET));
	EXPECT_EQ(350, lseek(self->fd, 50, SEEK_CUR));
	EXPECT_EQ(250, lseek(self->fd, -100, SEEK_CUR));
	EXPECT_EQ(250, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(1000, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(1, lseek(self->fd, -999, SEEK_END));
	EXPECT_EQ(0, lseek(self->fd, -1000, SEEK_END));
}

TEST_F(seek, the_next_read_and_write_are_there)
{
	char bytes[10];

	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(333, lseek(self->fd, 333, SEEK_SET));
	EXPECT_EQ(10, read(self->fd, bytes, 10));
	EXPECT_EQ(10, right(bytes, 10, 333, 1));
	ASSERT_EQ(900, lseek(self->fd, -100, SEEK_END));
	EXPECT_EQ(10, write(self->fd, fill(bytes, 10, 900, 2), 10));
	EXPECT_EQ(900, right_at(self->fd, 0, 900, 1));
	EXPECT_EQ(10, right_at(self->fd, 900, 10, 2));
	EXPECT_EQ(90, right_at(self->fd, 910, 90, 1));
}

TEST_F(seek, past_the_end_changes_nothing_until_a_write)
{
	char byte;

	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(TiB, lseek(self->fd, TiB, SEEK_SET));
	EXPECT_EQ(10, length_of(self->fd));
	EXPECT_EQ(0, read(self->fd, &byte, 1));
	EXPECT_EQ(TiB + 7, lseek(self->fd, 7, SEEK_CUR));
	EXPECT_EQ(10 + PAGE, lseek(self->fd, PAGE, SEEK_END));
	EXPECT_EQ(1, write(self->fd, "x", 1));
	EXPECT_EQ(11 + PAGE, length_of(self->fd));
	EXPECT_EQ(PAGE, right_at(self->fd, 10, PAGE, ZEROS));
}

/* Whatever a seek is refused for, the position stays. */
TEST_F(seek, a_negative_position_is_einval)
{
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	ASSERT_EQ(5, lseek(self->fd, 5, SEEK_SET));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, -1, SEEK_SET)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, INT64_MIN, SEEK_SET)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, -6, SEEK_CUR)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, INT64_MIN, SEEK_CUR)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, -11, SEEK_END)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, INT64_MIN, SEEK_END)));
	EXPECT_EQ(5, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(seek, a_position_that_overflows_is_einval)
{
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(OFFSET_MAX, lseek(self->fd, OFFSET_MAX, SEEK_SET));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, 1, SEEK_CUR)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, OFFSET_MAX, SEEK_CUR)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, OFFSET_MAX - 9, SEEK_END)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, OFFSET_MAX, SEEK_END)));
	EXPECT_EQ(OFFSET_MAX, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(OFFSET_MAX, lseek(self->fd, OFFSET_MAX - 10, SEEK_END));
	EXPECT_EQ(0, lseek(self->fd, -OFFSET_MAX, SEEK_CUR));
}

TEST_F(seek, an_unknown_whence_is_einval)
{
	const int whences[] = { -1, 5, 6, 100, INT_MAX, INT_MIN };

	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	for (size_t i = 0; i < ARRAY_LEN(whences); i++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, 0, whences[i])))
			TH_LOG("whence %d", whences[i]);
	}
}

TEST_F(seek, every_access_mode_may)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		int fd = variant->open(modes[i]);

		ASSERT_LE(0, fd);
		EXPECT_EQ(0, lseek(fd, 0, SEEK_END));
		EXPECT_EQ(70, lseek(fd, 70, SEEK_SET));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(fd, 0, SEEK_DATA)));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(fd, 0, SEEK_HOLE)));
		EXPECT_EQ(0, close(fd));
	}
}

/* There is neither data nor a hole at the end, after it, or before the start. */
TEST_F(seek, data_and_holes_only_before_the_end)
{
	const int whences[] = { SEEK_DATA, SEEK_HOLE };

	for (size_t i = 0; i < ARRAY_LEN(whences); i++) {
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, 0, whences[i])));
	}
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	ASSERT_EQ(5, lseek(self->fd, 5, SEEK_SET));
	for (size_t i = 0; i < ARRAY_LEN(whences); i++) {
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, 10, whences[i])));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, 11, whences[i])));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, PAGE, whences[i])));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, OFFSET_MAX, whences[i])));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, -1, whences[i])));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, INT64_MIN, whences[i])));
	}
	EXPECT_EQ(5, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(seek, the_end_is_the_hole_of_a_stream_without_one)
{
	const long long len = 2 * NODE + 5;

	ASSERT_EQ(len, put_at(self->fd, 0, len, 1));
	for (long long pos = 0; pos < len; pos += 5 * PAGE / 2) {
		EXPECT_EQ(pos, lseek(self->fd, pos, SEEK_DATA));
		EXPECT_EQ(pos, lseek(self->fd, 0, SEEK_CUR));
		EXPECT_EQ(len, lseek(self->fd, pos, SEEK_HOLE));
		EXPECT_EQ(len, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(len - 1, lseek(self->fd, len - 1, SEEK_DATA));
	EXPECT_EQ(len, lseek(self->fd, len - 1, SEEK_HOLE));
}

/* Data begins and ends with pages, wherever in the tree they are. */
TEST_F(seek, finds_data_and_holes)
{
	/* Pages with data; the stream ends 7 bytes after the start of the last. */
	const long long pages[] = {
		1, 2, 15, 16, 17, 63, 64, 127, 129, 4095, 4096, 1 << 20, (1LL << 30) + 1, 1LL << 40,
	};
	const long long len = pages[ARRAY_LEN(pages) - 1] * PAGE + 7;
	long long pos = 0;

	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		ASSERT_EQ(1, put_at(self->fd, pages[i] * PAGE + 6, 1, 1));
	}
	ASSERT_EQ(len, length_of(self->fd));
	for (size_t i = 0; i < ARRAY_LEN(pages);) {
		long long start = pages[i] * PAGE, end;

		while (++i < ARRAY_LEN(pages) && pages[i] == pages[i - 1] + 1)
			;
		end = i < ARRAY_LEN(pages) ? (pages[i - 1] + 1) * PAGE : len;
		EXPECT_EQ(pos, lseek(self->fd, pos, SEEK_HOLE));
		EXPECT_EQ(start, lseek(self->fd, pos, SEEK_DATA));
		EXPECT_EQ(start - 1, lseek(self->fd, start - 1, SEEK_HOLE));
		EXPECT_EQ(start, lseek(self->fd, start - 1, SEEK_DATA));
		EXPECT_EQ(start, lseek(self->fd, start, SEEK_DATA));
		EXPECT_EQ(end, lseek(self->fd, start, SEEK_HOLE));
		EXPECT_EQ(start + 3, lseek(self->fd, start + 3, SEEK_DATA));
		EXPECT_EQ(end, lseek(self->fd, start + 3, SEEK_HOLE));
		EXPECT_EQ(end - 1, lseek(self->fd, end - 1, SEEK_DATA));
		pos = end;
	}
	EXPECT_EQ(len, pos);
}

TEST_F(seek, the_length_of_a_hole_does_not_matter)
{
	long long start = now_ms();

	ASSERT_EQ(1, put_at(self->fd, OFFSET_MAX - 1, 1, 1));
	for (int i = 0; i < 1000; i++) {
		long long pos = (OFFSET_MAX / 1001) * i;

		ASSERT_EQ(pos, lseek(self->fd, pos, SEEK_HOLE));
		ASSERT_EQ(OFFSET_MAX / PAGE * PAGE, lseek(self->fd, pos, SEEK_DATA));
	}
	EXPECT_EQ(OFFSET_MAX, lseek(self->fd, OFFSET_MAX - 1, SEEK_HOLE));
	EXPECT_GT(3000, now_ms() - start);
}

/* What cp --sparse and QEMU do with a file they do not know. */
TEST_F(seek, a_walk_over_data_and_holes_covers_the_stream)
{
	long long data = 0, end = 0;
	unsigned int seed = 1;

	for (int i = 0; i < 200; i++) {
		ASSERT_EQ(100, put_at(self->fd, draw(&seed, 64 * MiB), 100, 1));
	}
	for (;;) {
		long long start = lseek(self->fd, end, SEEK_DATA), pos;

		if (start < 0)
			break;
		for (pos = end; pos < start; pos += NODE) {
			long long len = start - pos < NODE ? start - pos : NODE;

			ASSERT_EQ(len, right_at(self->fd, pos, len, ZEROS));
		}
		end = lseek(self->fd, start, SEEK_HOLE);
		ASSERT_LT(start, end);
		for (pos = start; pos < end; pos += PAGE) {
			long long len = end - pos < PAGE ? end - pos : PAGE;

			ASSERT_NE(len, right_at(self->fd, pos, len, ZEROS));
			data += len;
		}
	}
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(end, length_of(self->fd));
	EXPECT_LE(100 * PAGE, data);
	EXPECT_GE(400 * PAGE, data);
}

TEST_HARNESS_MAIN
