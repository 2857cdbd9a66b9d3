// SPDX-License-Identifier: GPL-2.0
/*
 * The calls of linux/qemufile.h about what a stream is: QEMUFILE_IOC_GET_INFO,
 * SET_LENGTH, PUNCH, GET_EXTENT, GET_ERROR, SET_ERROR.
 */
#include "harness.h"

STREAM_FIXTURE(state)

/* ---- GET_INFO ---- */

TEST_F(state, a_fresh_stream_is_empty)
{
	struct qemufile_info expected = {
		.readers = 1, .writers = 1, .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE,
	};
	struct qemufile_info info = info_of(self->fd);

	EXPECT_EQ(0, memcmp(&expected, &info, sizeof(info)));
}

TEST_F(state, info_tells_length_and_memory)
{
	struct qemufile_info info;

	ASSERT_EQ(1, put_at(self->fd, 10 * PAGE, 1, 1));
	info = info_of(self->fd);
	EXPECT_EQ(10 * PAGE + 1, (long long)info.length);
	EXPECT_EQ(PAGE, (long long)info.allocated);
	EXPECT_EQ(1, info.chunks);
	ASSERT_EQ(NODE, put_at(self->fd, MiB, NODE, 1));
	info = info_of(self->fd);
	EXPECT_EQ(MiB + NODE, (long long)info.length);
	EXPECT_EQ(PAGE + NODE, (long long)info.allocated);
	EXPECT_LT(1, info.chunks);
	EXPECT_GE(1 + NODE / PAGE, (long long)info.chunks);
	/* Over what is there, nothing more is needed. */
	ASSERT_EQ(NODE, put_at(self->fd, MiB, NODE, 2));
	EXPECT_EQ(PAGE + NODE, (long long)info_of(self->fd).allocated);
	ASSERT_EQ(1, put_at(self->fd, OFFSET_MAX - 1, 1, 1));
	EXPECT_EQ(OFFSET_MAX, (long long)info_of(self->fd).length);
}

TEST_F(state, info_tells_the_handles_position)
{
	char bytes[100];
	int other = open_handle(self->fd, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(100, write(self->fd, fill(bytes, 100, 0, 1), 100));
	EXPECT_EQ(100, info_of(self->fd).position);
	EXPECT_EQ(0, info_of(other).position);
	ASSERT_EQ(33, lseek(self->fd, 33, SEEK_SET));
	EXPECT_EQ(33, info_of(self->fd).position);
	ASSERT_EQ(10, read(self->fd, bytes, 10));
	EXPECT_EQ(43, info_of(self->fd).position);
	ASSERT_EQ(10, pread(self->fd, bytes, 10, 0));
	EXPECT_EQ(43, info_of(self->fd).position);
	close(other);
}

TEST_F(state, info_tells_who_has_the_stream_open)
{
	int reader = open_handle(self->fd, O_RDONLY), writer = open_handle(self->fd, O_WRONLY);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	EXPECT_EQ(2, info_of(self->fd).readers);
	EXPECT_EQ(2, info_of(self->fd).writers);
	EXPECT_EQ(QEMUFILE_MODE_READ, info_of(reader).mode);
	EXPECT_EQ(QEMUFILE_MODE_WRITE, info_of(writer).mode);
	close(reader);
	EXPECT_EQ(1, info_of(writer).readers);
	close(writer);
	EXPECT_EQ(1, info_of(self->fd).writers);
}

/* ---- SET_LENGTH ---- */

/* Sets the length; -1 and errno if that fails, or the length that came back. */
static long long length_after_set(int fd, uint64_t len)
{
	struct qemufile_length length = { .length = len };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length) ? -1 : (long long)length.length;
}

TEST_F(state, a_longer_length_is_a_hole)
{
	const long long lens[] = { 101, PAGE, PAGE + 1, NODE, 16 * MiB + 1, TiB, OFFSET_MAX };

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		long long len = lens[i], tail = len - 100 < MiB ? len - 100 : MiB;

		EXPECT_EQ(len, length_after_set(self->fd, len));
		EXPECT_EQ(len, length_of(self->fd));
		EXPECT_EQ(tail, right_at(self->fd, len - tail, tail, ZEROS));
		EXPECT_EQ(PAGE, (long long)info_of(self->fd).allocated);
	}
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(state, a_shorter_length_frees_what_is_behind)
{
	ASSERT_EQ(4 * MiB, put_at(self->fd, 0, 4 * MiB, 1));
	for (long long len = 4 * MiB - 1; len > 0; len = len * 2 / 3) {
		EXPECT_EQ(len, length_after_set(self->fd, len));
		EXPECT_EQ(len, length_of(self->fd));
		EXPECT_EQ((len + PAGE - 1) / PAGE * PAGE, (long long)info_of(self->fd).allocated);
		EXPECT_EQ(len, right_at(self->fd, 0, len, 1));
	}
	EXPECT_EQ(0, length_after_set(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).allocated);
	EXPECT_EQ(0, info_of(self->fd).chunks);
}

/* QEMU's own would show the old bytes. */
TEST_F(state, what_was_cut_off_never_shows_again)
{
	const long long cuts[] = { 0, 1, 100, PAGE - 1, PAGE, PAGE + 7, NODE, NODE + 1 };

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		for (int by_write = 0; by_write < 2; by_write++) {
			ASSERT_EQ(3 * NODE, put_at(self->fd, 0, 3 * NODE, 1));
			ASSERT_EQ(cuts[i], length_after_set(self->fd, cuts[i]));
			if (by_write) {
				ASSERT_EQ(1, put_at(self->fd, 3 * NODE - 1, 1, ZEROS));
			} else {
				ASSERT_EQ(3 * NODE, length_after_set(self->fd, 3 * NODE));
			}
			ASSERT_EQ(cuts[i], right_at(self->fd, 0, cuts[i], 1));
			ASSERT_EQ(3 * NODE - cuts[i],
				  right_at(self->fd, cuts[i], 3 * NODE - cuts[i], ZEROS))
				TH_LOG("cut at %lld", cuts[i]);
		}
	}
}

TEST_F(state, a_length_past_the_largest_offset_is_efbig)
{
	struct rlimit limit = { .rlim_cur = 5000, .rlim_max = RLIM_INFINITY };

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(EFBIG, ERRNO_OF(length_after_set(self->fd, 1ULL << 63)));
	EXPECT_EQ(EFBIG, ERRNO_OF(length_after_set(self->fd, ~0ULL)));
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, ERRNO_OF(length_after_set(self->fd, 5001)));
	EXPECT_EQ(100, length_of(self->fd));
	EXPECT_EQ(5000, length_after_set(self->fd, 5000));
	EXPECT_EQ(10, length_after_set(self->fd, 10));
}

TEST_F(state, a_length_leaves_the_position)
{
	char byte;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(80, lseek(self->fd, 80, SEEK_SET));
	EXPECT_EQ(10, length_after_set(self->fd, 10));
	EXPECT_EQ(80, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, read(self->fd, &byte, 1));
	EXPECT_EQ(1, write(self->fd, "x", 1));
	EXPECT_EQ(81, length_of(self->fd));
	EXPECT_EQ(70, right_at(self->fd, 10, 70, ZEROS));
}

/* ---- PUNCH ---- */

TEST_F(state, punched_is_zero_and_takes_no_memory)
{
	const struct {
		long long start, len, pages;
	} ranges[] = {
		/* The whole pages in it are freed. */
		{ 0, PAGE, 1 }, { 1, PAGE, 0 }, { 1, 2 * PAGE, 1 }, { PAGE - 1, 2, 0 },
		{ 5, 10, 0 }, { 3 * PAGE, 5 * PAGE, 5 }, { NODE - PAGE, 2 * PAGE, 2 },
		{ 0, NODE, 64 }, { 7, 3 * NODE, 191 }, { 0, 4 * NODE, 256 },
		{ 4 * NODE - PAGE, 10 * NODE, 1 }, { 4 * NODE - 1, 1, 0 },
		{ 0, OFFSET_MAX, 256 }, { 4 * NODE, NODE, 0 }, { TiB, TiB, 0 },
	};
	const long long len = 4 * NODE;

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		long long start = ranges[i].start < len ? ranges[i].start : len;
		long long end = len - start < ranges[i].len ? len : start + ranges[i].len;

		ASSERT_EQ(len, put_at(self->fd, 0, len, 1));
		EXPECT_EQ(0, punch(self->fd, ranges[i].start, ranges[i].len)) TH_LOG("%zu: %m", i);
		EXPECT_EQ(len, length_of(self->fd));
		EXPECT_EQ(start, right_at(self->fd, 0, start, 1));
		EXPECT_EQ(end - start, right_at(self->fd, start, end - start, ZEROS));
		EXPECT_EQ(len - end, right_at(self->fd, end, len - end, 1));
		EXPECT_EQ(len - ranges[i].pages * PAGE, (long long)info_of(self->fd).allocated)
			TH_LOG("%zu", i);
	}
}

TEST_F(state, a_wrong_range_to_punch_is_refused)
{
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	EXPECT_EQ(EINVAL, ERRNO_OF(punch(self->fd, 0, 0)));
	EXPECT_EQ(EFBIG, ERRNO_OF(punch(self->fd, OFFSET_MAX, 1)));
	EXPECT_EQ(EFBIG, ERRNO_OF(punch(self->fd, 1, OFFSET_MAX)));
	EXPECT_EQ(EFBIG, ERRNO_OF(punch(self->fd, 0, 1ULL << 63)));
	EXPECT_EQ(EFBIG, ERRNO_OF(punch(self->fd, ~0ULL, ~0ULL)));
	EXPECT_EQ(EFBIG, ERRNO_OF(punch(self->fd, ~0ULL, 1)));
	EXPECT_EQ(PAGE, right_at(self->fd, 0, PAGE, 1));
}

TEST_F(state, punching_empties_the_tree)
{
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 50; i++) {
			ASSERT_EQ(1, put_at(self->fd, (1LL << i) * PAGE, 1, 1));
		}
		EXPECT_EQ(50 * PAGE, (long long)info_of(self->fd).allocated);
		EXPECT_EQ(0, punch(self->fd, 0, OFFSET_MAX));
		EXPECT_EQ(0, info_of(self->fd).allocated);
		EXPECT_EQ(0, info_of(self->fd).chunks);
		EXPECT_EQ((1LL << 49) * PAGE + 1, length_of(self->fd));
		EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, 0, SEEK_DATA)));
	}
}

/* ---- GET_EXTENT ---- */

static struct qemufile_extent extent_at(int fd, uint64_t start)
{
	struct qemufile_extent extent = { .start = start };

	if (ioctl(fd, QEMUFILE_IOC_GET_EXTENT, &extent))
		extent.kind = -1;
	return extent;
}

TEST_F(state, extents_agree_with_lseek)
{
	long long pos = 0, end;
	unsigned int seed = 1;

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(100, put_at(self->fd, draw(&seed, 30 * MiB), 100, 1));
	}
	ASSERT_EQ(10 * TiB + 5, length_after_set(self->fd, 10 * TiB + 5));
	end = length_of(self->fd);
	while (pos < end) {
		struct qemufile_extent extent = extent_at(self->fd, pos);
		long long next = pos + extent.length;
		bool data = lseek(self->fd, pos, SEEK_DATA) == pos;

		ASSERT_EQ(data ? QEMUFILE_EXTENT_DATA : QEMUFILE_EXTENT_HOLE, extent.kind);
		ASSERT_EQ(pos, (long long)extent.start);
		ASSERT_EQ(0, extent.flags);
		ASSERT_LT(0, extent.length);
		if (data) {
			ASSERT_EQ(next, lseek(self->fd, pos, SEEK_HOLE));
		} else if (next < end) {
			ASSERT_EQ(next, lseek(self->fd, pos, SEEK_DATA));
		}
		/* From within, it is the rest of the same. */
		if (extent.length > 1) {
			extent = extent_at(self->fd, pos + 1);
			ASSERT_EQ(next - pos - 1, (long long)extent.length);
		}
		pos = next;
	}
	EXPECT_EQ(end, pos);
}

TEST_F(state, there_is_no_extent_past_the_end)
{
	EXPECT_EQ(0, extent_at(self->fd, 0).length);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(1, extent_at(self->fd, 99).length);
	EXPECT_EQ(0, extent_at(self->fd, 100).length);
	EXPECT_EQ(0, extent_at(self->fd, PAGE).length);
	EXPECT_EQ(0, extent_at(self->fd, OFFSET_MAX).length);
	EXPECT_EQ(0, extent_at(self->fd, ~0ULL).length);
	EXPECT_EQ(QEMUFILE_EXTENT_HOLE, extent_at(self->fd, ~0ULL).kind);
}

/* ---- GET_ERROR, SET_ERROR ---- */

static int get_error(int fd)
{
	struct qemufile_error answer = { .error = 12345, .flags = 12345 };

	if (ioctl(fd, QEMUFILE_IOC_GET_ERROR, &answer) || answer.flags)
		return 54321;
	return answer.error;
}

TEST_F(state, an_error_can_be_set_asked_for_and_cleared)
{
	EXPECT_EQ(0, get_error(self->fd));
	EXPECT_EQ(0, set_error(self->fd, -EIO));
	EXPECT_EQ(-EIO, get_error(self->fd));
	EXPECT_EQ(-EIO, info_of(self->fd).error);
	EXPECT_EQ(POLLERR, polled(self->fd, 0));
	/* The first stays. */
	EXPECT_EQ(0, set_error(self->fd, -EPIPE));
	EXPECT_EQ(-EIO, get_error(self->fd));
	EXPECT_EQ(EIO, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(-EIO, get_error(self->fd));
	EXPECT_EQ(0, set_error(self->fd, 0));
	EXPECT_EQ(0, get_error(self->fd));
	EXPECT_EQ(0, info_of(self->fd).error);
	EXPECT_EQ(0, polled(self->fd, 0));
	EXPECT_EQ(0, set_error(self->fd, -EPIPE));
	EXPECT_EQ(-EPIPE, get_error(self->fd));
	EXPECT_EQ(EPIPE, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(0, set_error(self->fd, 0));
	EXPECT_EQ(0, close(self->fd));
}

TEST_F(state, an_error_cleared_is_reported_by_nobody)
{
	EXPECT_EQ(0, set_error(self->fd, -EIO));
	EXPECT_EQ(0, set_error(self->fd, 0));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, close(self->fd));
}

/* 512 and on are the kernel's own: ERESTARTSYS is 512, ENOIOCTLCMD 515, EIOCBQUEUED 529. */
TEST_F(state, what_is_no_errno_of_user_space_is_einval)
{
	const int wrong[] = {
		1, EIO, INT_MAX, INT_MIN, -512, -515, -529, -4095, -4096, -5000,
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(set_error(self->fd, wrong[i])))
			TH_LOG("%d", wrong[i]);
	}
	EXPECT_EQ(0, get_error(self->fd));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, set_error(self->fd, -511));
	EXPECT_EQ(-511, get_error(self->fd));
	EXPECT_EQ(511, ERRNO_OF(fsync(self->fd)));
}

TEST_F(state, an_error_of_a_write_is_latched)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};

	ASSERT_EQ(4, writev(self->fd, iov, 2));
	EXPECT_EQ(-EFAULT, get_error(self->fd));
	EXPECT_EQ(0, set_error(self->fd, -EIO));
	EXPECT_EQ(-EFAULT, get_error(self->fd));
	EXPECT_EQ(0, set_error(self->fd, 0));
	ASSERT_EQ(4, writev(self->fd, iov, 2));
	EXPECT_EQ(-EFAULT, get_error(self->fd));
}

/* A reader may note that what it got was no good. */
TEST_F(state, an_error_is_the_handles)
{
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	EXPECT_EQ(0, set_error(reader, -EBADMSG));
	EXPECT_EQ(-EBADMSG, get_error(reader));
	EXPECT_EQ(0, get_error(self->fd));
	EXPECT_EQ(EBADMSG, ERRNO_OF(close(reader)));
}

TEST_HARNESS_MAIN
