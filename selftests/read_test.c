// SPDX-License-Identifier: GPL-2.0
/* read(2), pread(2), readv(2), preadv2(2): which bytes, how many, from where. */
#include "harness.h"

STREAM_FIXTURE(read)

TEST_F(read, end_of_a_private_stream_is_zero_at_once)
{
	const off_t places[] = { 0, 1, 100, 101, PAGE, 10 * TiB, OFFSET_MAX - 10 };
	char byte = 'x';

	EXPECT_EQ(0, read(self->fd, &byte, 1));
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	for (size_t i = 2; i < ARRAY_LEN(places); i++) {
		EXPECT_EQ(0, pread(self->fd, &byte, 1, places[i]));
		EXPECT_EQ(places[i], lseek(self->fd, places[i], SEEK_SET));
		EXPECT_EQ(0, read(self->fd, &byte, 1));
		EXPECT_EQ(places[i], lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ('x', byte);
}

TEST_F(read, a_private_reader_is_at_the_end)
{
	int fd = variant->open(O_RDONLY);
	char byte;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, read(fd, &byte, 1));
	EXPECT_EQ(0, pread(fd, &byte, 1, 0));
	EXPECT_EQ(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, read(fd, &byte, 1));
	EXPECT_EQ(0, close(fd));
}

TEST_F(read, gives_what_was_written)
{
	const long long starts[] = {
		0, 1, 7, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK + 3, NODE - 1, NODE,
		NODE + 5, SLICE - 1, SLICE, SLICE + 9,
	};
	const long long lens[] = {
		1, 8, PAGE - 1, PAGE, PAGE + 1, CHUNK + 1, NODE - 1, NODE + 1, SLICE + 1,
	};
	unsigned char *memory = fresh_memory(SLICE + 3);

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(3 * MiB, put_at(self->fd, 0, 3 * MiB, 1));
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			off_t pos = starts[i];
			long long len = lens[j];

			memory[0] = memory[1 + len] = 0xa5;
			ASSERT_EQ(len, pread(self->fd, memory + 1, len, pos));
			ASSERT_EQ(len, right(memory + 1, len, pos, 1))
				TH_LOG("%lld bytes at %lld", len, (long long)pos);
			ASSERT_EQ(0xa5, memory[0]);
			ASSERT_EQ(0xa5, memory[1 + len]);
		}
	}
}

TEST_F(read, moves_the_position_by_what_it_gave)
{
	unsigned char memory[PAGE + 1];
	off_t pos = 0;

	ASSERT_EQ(300 * KiB + 5, put_at(self->fd, 0, 300 * KiB + 5, 1));
	for (;;) {
		ssize_t got = read(self->fd, memory, 1 + pos % sizeof(memory));

		ASSERT_LE(0, got);
		if (got == 0)
			break;
		ASSERT_EQ(got, right(memory, got, pos, 1));
		pos += got;
		ASSERT_EQ(pos, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(300 * KiB + 5, pos);
}

TEST_F(read, is_short_only_at_the_end)
{
	unsigned char *memory = fresh_memory(3 * MiB);

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(2 * MiB + 77, put_at(self->fd, 0, 2 * MiB + 77, 1));
	EXPECT_EQ(2 * MiB + 77, read(self->fd, memory, 3 * MiB));
	EXPECT_EQ(2 * MiB + 77, right(memory, 2 * MiB + 77, 0, 1));
	EXPECT_EQ(0, memory[2 * MiB + 77]);
	EXPECT_EQ(77, pread(self->fd, memory, 78, 2 * MiB));
	EXPECT_EQ(77, right(memory, 77, 2 * MiB, 1));
}

TEST_F(read, pread_leaves_the_position)
{
	struct iovec iov;
	char bytes[50];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(30, lseek(self->fd, 30, SEEK_SET));
	EXPECT_EQ(50, pread(self->fd, bytes, 50, 10));
	EXPECT_EQ(50, right(bytes, 50, 10, 1));
	EXPECT_EQ(50, preadv(self->fd, &iov, 1, 20));
	EXPECT_EQ(50, right(bytes, 50, 20, 1));
	EXPECT_EQ(20, preadv2(self->fd, &iov, 1, 80, 0));
	EXPECT_EQ(20, right(bytes, 20, 80, 1));
	EXPECT_EQ(30, lseek(self->fd, 0, SEEK_CUR));
	/* An offset of -1 is the position. */
	EXPECT_EQ(50, preadv2(self->fd, &iov, 1, -1, 0));
	EXPECT_EQ(50, right(bytes, 50, 30, 1));
	EXPECT_EQ(80, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(read, a_negative_or_overflowing_offset_is_einval)
{
	char bytes[20];

	EXPECT_EQ(EINVAL, ERRNO_OF(pread(self->fd, bytes, 1, -1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pread(self->fd, bytes, 1, INT64_MIN)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pread(self->fd, bytes, 20, OFFSET_MAX - 10)));
	EXPECT_EQ(0, pread(self->fd, bytes, 10, OFFSET_MAX - 10));
}

TEST_F(read, without_the_mode_is_ebadf)
{
	int fd = variant->open(O_WRONLY);
	struct iovec iov = { .iov_base = nowhere(), .iov_len = 1 };
	char byte;

	ASSERT_LE(0, fd);
	EXPECT_EQ(EBADF, ERRNO_OF(read(fd, &byte, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(read(fd, &byte, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(read(fd, nowhere(), 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(pread(fd, &byte, 1, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(readv(fd, &iov, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(preadv2(fd, &iov, 1, 0, RWF_NOWAIT)));
	EXPECT_EQ(0, close(fd));
}

TEST_F(read, zero_length_is_zero)
{
	struct iovec iov[2] = {};

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, read(self->fd, NULL, 0));
	EXPECT_EQ(0, read(self->fd, nowhere(), 0));
	EXPECT_EQ(0, pread(self->fd, NULL, 0, OFFSET_MAX));
	EXPECT_EQ(0, readv(self->fd, iov, 2));
	EXPECT_EQ(0, readv(self->fd, iov, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(read, vectors_are_filled_in_order)
{
	unsigned char *memory = fresh_memory(CHUNK);
	long long at = 0, total = 0;
	struct iovec iov[100];

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	/* Lengths from 0 up, a byte of other memory between them. */
	for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
		iov[i].iov_base = memory + at;
		iov[i].iov_len = i * 3 % 41 + (i % 10 == 9 ? 1001 : 0);
		at += iov[i].iov_len + 1;
		total += iov[i].iov_len;
	}
	ASSERT_EQ(total, readv(self->fd, iov, ARRAY_LEN(iov)));
	EXPECT_EQ(total, lseek(self->fd, 0, SEEK_CUR));
	at = 0;
	for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
		unsigned char *after = (unsigned char *)iov[i].iov_base + iov[i].iov_len;

		EXPECT_EQ((long long)iov[i].iov_len,
			  right(iov[i].iov_base, iov[i].iov_len, at, 1));
		EXPECT_EQ(0, *after);
		at += iov[i].iov_len;
	}
}

TEST_F(read, iov_max_vectors_and_no_more)
{
	static struct iovec iov[IOV_MAX + 1];
	static unsigned char memory[3 * IOV_MAX + 3];

	for (int i = 0; i <= IOV_MAX; i++)
		iov[i] = (struct iovec){ .iov_base = memory + 3 * i, .iov_len = 3 };
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	EXPECT_EQ(3 * IOV_MAX, readv(self->fd, iov, IOV_MAX));
	EXPECT_EQ(3 * IOV_MAX, right(memory, 3 * IOV_MAX, 0, 1));
	EXPECT_EQ(3 * IOV_MAX, preadv(self->fd, iov, IOV_MAX, 1));
	EXPECT_EQ(EINVAL, ERRNO_OF(readv(self->fd, iov, IOV_MAX + 1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(preadv(self->fd, iov, IOV_MAX + 1, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(syscall(SYS_readv, self->fd, iov, -1L)));
	iov[3].iov_len = -1;
	EXPECT_EQ(EINVAL, ERRNO_OF(readv(self->fd, iov, 5)));
	EXPECT_EQ(EFAULT, ERRNO_OF(readv(self->fd, nowhere(), 1)));
	EXPECT_EQ(3 * IOV_MAX, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(read, flags_that_fit_are_accepted)
{
	const int flags[] = {
		RWF_NOWAIT, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT | RWF_HIPRI,
	};
	struct iovec iov;
	char bytes[60];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		memset(bytes, 0, sizeof(bytes));
		EXPECT_EQ(60, preadv2(self->fd, &iov, 1, 3, flags[i]))
			TH_LOG("flags %#x: %m", flags[i]);
		EXPECT_EQ(60, right(bytes, 60, 3, 1));
		EXPECT_EQ(0, preadv2(self->fd, &iov, 1, 100, flags[i]))
			TH_LOG("flags %#x: %m", flags[i]);
	}
}

TEST_F(read, flags_that_do_not_fit_are_refused)
{
	struct iovec iov;
	char byte;

	iov = (struct iovec){ .iov_base = &byte, .iov_len = 1 };
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(preadv2(self->fd, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(preadv2(self->fd, &iov, 1, 0, 1 << 30)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(preadv2(self->fd, &iov, 1, 0, 1 << 30 | RWF_NOWAIT)));
	EXPECT_EQ(EINVAL, ERRNO_OF(preadv2(self->fd, &iov, 1, 0, RWF_APPEND | RWF_NOAPPEND)));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

/* A byte far out, and holes before it of each size that a tree can have. */
TEST_F(read, holes_are_zeros)
{
	const long long ends[] = {
		PAGE, 3 * PAGE + 5, CHUNK, NODE, NODE + PAGE, 16 * MiB, GiB + 1, 64 * GiB, TiB,
		5000 * TiB, OFFSET_MAX - PAGE,
	};
	unsigned char *memory = fresh_memory(MiB);

	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		long long len = ends[i] < MiB ? ends[i] : MiB;

		ASSERT_EQ(5, put_at(self->fd, ends[i], 5, 1)) TH_LOG("at %lld: %m", ends[i]);
		EXPECT_EQ(ends[i] + 5, length_of(self->fd));
		EXPECT_EQ(5, right_at(self->fd, ends[i], 5, 1));
		memset(memory, 0xa5, len);
		ASSERT_EQ(len, pread(self->fd, memory, len, ends[i] - len));
		for (size_t j = 0; j < i; j++) {
			if (ends[j] >= ends[i] - len) {
				unsigned char *byte = memory + (ends[j] - (ends[i] - len));

				EXPECT_EQ(5, right(byte, 5, ends[j], 1));
				memset(byte, 0, 5);
			}
		}
		EXPECT_EQ(len, right(memory, len, 0, ZEROS)) TH_LOG("before %lld", ends[i]);
	}
}

TEST_HARNESS_MAIN
