// SPDX-License-Identifier: GPL-2.0
/*
 * QEMUFILE_IOC_SET_LIMIT and SET_FLAGS: the most that a stream may hold, streams
 * that are only appended to, and sealed ones. Those that are drained have tests of
 * their own: drain_test.c.
 */
#include "harness.h"

STREAM_FIXTURE(limit)

/* ---- SET_LIMIT ---- */

TEST_F(limit, a_write_past_it_is_short_and_then_enospc)
{
	char *memory = fresh_memory(2 * MiB);

	ASSERT_EQ(0, set_limit(self->fd, MiB + 5));
	EXPECT_EQ(MiB + 5, (long long)info_of(self->fd).limit);
	fill(memory, 2 * MiB, 0, 1);
	EXPECT_EQ(MiB + 5, write(self->fd, memory, 2 * MiB));
	EXPECT_EQ(MiB + 5, length_of(self->fd));
	EXPECT_EQ(MiB + 5, right_at(self->fd, 0, MiB + 5, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(write(self->fd, memory, 1)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(self->fd, memory, 1, TiB)));
	EXPECT_EQ(0, write(self->fd, memory, 0));
	EXPECT_EQ(MiB + 5, lseek(self->fd, 0, SEEK_CUR));
	/* What is there can be written over. */
	EXPECT_EQ(100, put_at(self->fd, MiB - 95, 100, 2));
	EXPECT_EQ(50, pwrite(self->fd, memory, 100, MiB - 45));
	/* It is latched, and it is not waited for. */
	EXPECT_EQ(POLL_WRITE | POLLERR, polled(self->fd, POLL_WRITE));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(close(self->fd)));
}

TEST_F(limit, a_short_write_latches_enospc)
{
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(10, write(self->fd, "0123456789abc", 13));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->fd)));
}

TEST_F(limit, an_atomic_write_past_it_is_enospc)
{
	char *memory = fresh_memory(2 * MiB);
	struct iovec iov = { .iov_base = memory, .iov_len = 1001 };

	ASSERT_EQ(500, put_at(self->fd, 0, 500, 1));
	ASSERT_EQ(0, set_limit(self->fd, 1000));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->fd, &iov, 1, -1, RWF_ATOMIC | RWF_APPEND)));
	EXPECT_EQ(500, length_of(self->fd));
	EXPECT_EQ(500, right_at(self->fd, 0, 500, 1));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	iov.iov_len = 1000;
	EXPECT_EQ(1000, pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC));
}

TEST_F(limit, a_length_past_it_is_enospc)
{
	ASSERT_EQ(0, set_limit(self->fd, 1000));
	EXPECT_EQ(0, set_length(self->fd, 1000));
	EXPECT_EQ(ENOSPC, ERRNO_OF(set_length(self->fd, 1001)));
	EXPECT_EQ(1000, length_of(self->fd));
	EXPECT_EQ(0, set_length(self->fd, 5));
}

TEST_F(limit, one_below_what_there_is_keeps_it)
{
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(1000, put_at(self->fd, 0, 1000, 2));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(self->fd, "x", 1, 1000)));
	ASSERT_EQ(0, set_length(self->fd, 5));
	EXPECT_EQ(5, pwrite(self->fd, "0123456789", 10, 5));
	EXPECT_EQ(10, length_of(self->fd));
}

TEST_F(limit, zero_is_none)
{
	ASSERT_EQ(0, set_limit(self->fd, 10));
	ASSERT_EQ(0, set_limit(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).limit);
	EXPECT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	ASSERT_EQ(0, set_limit(self->fd, ~0ULL));
	EXPECT_EQ(MiB, put_at(self->fd, TiB, MiB, 1));
}

TEST_F(limit, holds_for_all_handles)
{
	int other = open_handle(self->fd, O_RDWR), again;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(10, write(other, "0123456789abc", 13));
	EXPECT_EQ(10, info_of(other).limit);
	again = open_handle(other, O_RDWR);
	ASSERT_LE(0, again);
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(again, "x", 1, 10)));
	close(again);
	close(other);
}

/* ---- append only ---- */

TEST_F(limit, append_only_allows_nothing_but_appending)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND, info_of(self->fd).stream_flags);
	EXPECT_EQ(EPERM, ERRNO_OF(write(self->fd, "x", 1)));
	EXPECT_EQ(EPERM, ERRNO_OF(pwrite(self->fd, "x", 1, 99)));
	EXPECT_EQ(EPERM, ERRNO_OF(set_length(self->fd, 99)));
	EXPECT_EQ(EPERM, ERRNO_OF(punch(self->fd, 0, 10)));
	EXPECT_EQ(100, pwrite(self->fd, fill(bytes, 100, 100, 1), 100, 100));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(100, write(self->fd, fill(bytes, 100, 200, 1), 100));
	EXPECT_EQ(300, right_at(self->fd, 0, 300, 1));
	/* Past the end is not before it. */
	EXPECT_EQ(0, set_length(self->fd, 400));
	EXPECT_EQ(400, length_of(self->fd));
	/* None of it was anything that had to be in the stream. */
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(limit, properties_are_never_cleared)
{
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	ASSERT_EQ(0, set_flags(self->fd, 0));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND, info_of(self->fd).stream_flags);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND | QEMUFILE_STREAM_SEALED,
		  info_of(self->fd).stream_flags);
}

TEST_F(limit, unknown_properties_are_einval)
{
	for (int bit = 5; bit < 32; bit++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(set_flags(self->fd, 1U << bit)));
		EXPECT_EQ(EINVAL, ERRNO_OF(set_flags(self->fd, 1U << bit | 1)));
	}
	EXPECT_EQ(0, info_of(self->fd).stream_flags);
}

/* ---- sealed ---- */

TEST_F(limit, sealed_allows_no_change_by_anybody)
{
	int other = open_handle(self->fd, O_RDWR), later;
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	char byte;

	ASSERT_LE(0, other);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(other, QEMUFILE_STREAM_SEALED));
	later = open_handle(self->fd, O_RDWR);
	ASSERT_LE(0, later);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? self->fd : i == 1 ? other : later;

		EXPECT_EQ(EPERM, ERRNO_OF(write(fd, "x", 1)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwrite(fd, "x", 1, 100)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_ATOMIC)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_APPEND)));
		EXPECT_EQ(EPERM, ERRNO_OF(set_length(fd, 0)));
		EXPECT_EQ(EPERM, ERRNO_OF(set_length(fd, 1000)));
		EXPECT_EQ(EPERM, ERRNO_OF(punch(fd, 0, 10)));
		EXPECT_EQ(0, write(fd, "x", 0));
		EXPECT_EQ(100, right_at(fd, 0, 100, 1));
		/* The end is the end, though there are writers. */
		EXPECT_EQ(0, pread(fd, &byte, 1, 100));
		EXPECT_EQ(0, fsync(fd));
	}
	EXPECT_EQ(EPERM, ERRNO_OF(ftruncate(other, 0)));
	EXPECT_EQ(EPERM, ERRNO_OF(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1)));
	close(later);
	close(other);
}

TEST_F(limit, a_clone_of_a_sealed_stream_is_not_sealed)
{
	int copy;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED | QEMUFILE_STREAM_APPEND));
	copy = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, copy);
	EXPECT_EQ(0, info_of(copy).stream_flags);
	EXPECT_EQ(100, put_at(copy, 0, 100, 2));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	close(copy);
}

struct writing {
	int fd;
	ssize_t done;
};

static void *write_much(void *arg)
{
	struct writing *writing = arg;
	const size_t len = clock_is_coarse() ? 32 * MiB : 128 * MiB;
	char *memory = fresh_memory(len);

	memset(memory, 1, len);
	writing->done = pwrite(writing->fd, memory, len, 0);
	munmap(memory, len);
	return NULL;
}

/* The end that a reader is told is the end: no write that was begun before goes on. */
TEST_F(limit, nothing_is_written_after_sealing_returns)
{
	struct writing writing = { .fd = self->fd };
	pthread_t thread;
	long long sealed;

	ASSERT_EQ(0, pthread_create(&thread, NULL, write_much, &writing));
	for (int i = 0; i < 10000 && length_of(self->fd) == 0; i++)
		sleep_ms(1);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	sealed = length_of(self->fd);
	pthread_join(thread, NULL);
	EXPECT_EQ(sealed, length_of(self->fd));
	EXPECT_EQ(sealed, writing.done);
}

TEST_F(limit, zeroing_an_append_only_stream_changes_nothing)
{
	int file = open_handle(self->fd, O_RDWR);

	ASSERT_LE(0, file);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	EXPECT_EQ(EPERM, ERRNO_OF(fallocate(file, FALLOC_FL_ZERO_RANGE, 0, MiB)));
	EXPECT_EQ(100, length_of(file));
	EXPECT_EQ(100, right_at(file, 0, 100, 1));
	close(file);
}

TEST_HARNESS_MAIN
