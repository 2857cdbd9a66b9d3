// SPDX-License-Identifier: GPL-2.0
/* write(2), pwrite(2), writev(2), pwritev2(2): which bytes, how many, to where. */
#include "harness.h"

STREAM_FIXTURE(write)

TEST_F(write, puts_bytes_where_they_belong)
{
	const long long starts[] = {
		0, 1, 7, PAGE - 1, PAGE, PAGE + 1, CHUNK - 1, CHUNK + 3, NODE - 1, NODE,
		NODE + 5, SLICE - 1, SLICE, SLICE + 9,
	};
	const long long lens[] = {
		1, 8, PAGE - 1, PAGE, PAGE + 1, CHUNK + 1, NODE - 1, NODE + 1, SLICE + 1,
	};
	unsigned char *memory = fresh_memory(SLICE + 1);

	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			long long pos = starts[i], len = lens[j];
			long long before = pos < PAGE ? pos : PAGE;
			int fd = variant->open(O_RDWR);

			ASSERT_LE(0, fd);
			/* On its own, the rest being a hole. */
			fill(memory, len, pos, 1);
			ASSERT_EQ(len, pwrite(fd, memory, len, pos));
			ASSERT_EQ(pos + len, length_of(fd));
			ASSERT_EQ(len, right_at(fd, pos, len, 1))
				TH_LOG("%lld bytes at %lld", len, pos);
			ASSERT_EQ(before, right_at(fd, pos - before, before, ZEROS));
			/* Over it, one byte from each end. */
			if (len > 2) {
				fill(memory, len, pos, 2);
				ASSERT_EQ(len - 2, pwrite(fd, memory + 1, len - 2, pos + 1));
				ASSERT_EQ(1, right_at(fd, pos, 1, 1));
				ASSERT_EQ(len - 2, right_at(fd, pos + 1, len - 2, 2));
				ASSERT_EQ(1, right_at(fd, pos + len - 1, 1, 1));
				ASSERT_EQ(pos + len, length_of(fd));
			}
			ASSERT_EQ(0, close(fd));
		}
	}
}

TEST_F(write, moves_the_position_by_what_it_took)
{
	static unsigned char memory[CHUNK];
	off_t pos = 0;

	for (int i = 0; i < 200; i++) {
		size_t len = 1 + i * 7919 % sizeof(memory) / (1 + i % 50);

		fill(memory, len, pos, 1);
		ASSERT_EQ((ssize_t)len, write(self->fd, memory, len));
		pos += len;
		ASSERT_EQ(pos, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(pos, length_of(self->fd));
	EXPECT_EQ(pos, right_at(self->fd, 0, pos, 1));
}

TEST_F(write, pwrite_leaves_the_position)
{
	struct iovec iov;
	char bytes[50];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
	ASSERT_EQ(30, lseek(self->fd, 30, SEEK_SET));
	EXPECT_EQ(50, pwrite(self->fd, fill(bytes, 50, 10, 1), 50, 10));
	fill(bytes, 50, 60, 1);
	EXPECT_EQ(50, pwritev(self->fd, &iov, 1, 60));
	fill(bytes, 50, 110, 1);
	EXPECT_EQ(50, pwritev2(self->fd, &iov, 1, 110, 0));
	EXPECT_EQ(30, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(150, right_at(self->fd, 10, 150, 1));
	/* An offset of -1 is the position. */
	fill(bytes, 50, 30, 2);
	EXPECT_EQ(50, pwritev2(self->fd, &iov, 1, -1, 0));
	EXPECT_EQ(80, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(50, right_at(self->fd, 30, 50, 2));
}

TEST_F(write, a_large_write_is_taken_whole)
{
	const size_t len = 40 * MiB + 4097;
	unsigned char *memory = fresh_memory(len);

	ASSERT_NE(NULL, memory);
	fill(memory, len, 0, 1);
	ASSERT_EQ((ssize_t)len, write(self->fd, memory, len));
	memset(memory, 0, len);
	ASSERT_EQ((ssize_t)len, pread(self->fd, memory, len, 0));
	EXPECT_EQ((long long)len, right(memory, len, 0, 1));
}

/* Whatever was in the memory before must not show in what the write left out. */
TEST_F(write, past_the_end_leaves_zeros)
{
	long long end = 0;

	for (int round = 0; round < 3; round++) {
		int fd = variant->open(O_RDWR);

		/* Dirty pages go back to the allocator, to be had again below. */
		ASSERT_LE(0, fd);
		ASSERT_EQ(4 * MiB, put_at(fd, 0, 4 * MiB, 9));
		ASSERT_EQ(0, close(fd));

		for (long long gap = 1; gap < MiB; gap = 3 * gap + 1) {
			ASSERT_EQ(2, put_at(self->fd, end + gap, 2, 1));
			ASSERT_EQ(gap, right_at(self->fd, end, gap, ZEROS));
			end += gap + 2;
			ASSERT_EQ(end, length_of(self->fd));
		}
	}
	EXPECT_EQ(100, lseek(self->fd, 100, SEEK_END) - end);
	EXPECT_EQ(1, write(self->fd, "x", 1));
	EXPECT_EQ(100, right_at(self->fd, end, 100, ZEROS));
}

TEST_F(write, zero_length_changes_nothing)
{
	struct iovec iov[2] = {};

	EXPECT_EQ(0, write(self->fd, NULL, 0));
	EXPECT_EQ(0, write(self->fd, nowhere(), 0));
	EXPECT_EQ(0, pwrite(self->fd, "x", 0, MiB));
	EXPECT_EQ(0, pwrite(self->fd, "x", 0, OFFSET_MAX));
	EXPECT_EQ(0, writev(self->fd, iov, 2));
	EXPECT_EQ(0, writev(self->fd, iov, 0));
	EXPECT_EQ(0, pwritev2(self->fd, iov, 2, 10, RWF_ATOMIC));
	EXPECT_EQ(0, length_of(self->fd));
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(0, write(self->fd, "x", 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(write, without_the_mode_is_ebadf)
{
	int fd = variant->open(O_RDONLY);
	struct iovec iov = { .iov_base = nowhere(), .iov_len = 1 };

	ASSERT_LE(0, fd);
	EXPECT_EQ(EBADF, ERRNO_OF(write(fd, "x", 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(write(fd, "x", 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(write(fd, nowhere(), 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(pwrite(fd, "x", 1, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(writev(fd, &iov, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_APPEND)));
	EXPECT_EQ(0, length_of(fd));
	EXPECT_EQ(0, close(fd));
}

TEST_F(write, a_negative_or_overflowing_offset_is_einval)
{
	char bytes[20] = {};

	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(self->fd, bytes, 1, -1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(self->fd, bytes, 1, INT64_MIN)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(self->fd, bytes, 1, OFFSET_MAX)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(self->fd, bytes, 20, OFFSET_MAX - 10)));
	EXPECT_EQ(0, length_of(self->fd));
}

TEST_F(write, vectors_are_taken_in_order)
{
	unsigned char *memory = fresh_memory(CHUNK);
	long long at = 0, total = 0;
	struct iovec iov[100];

	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
		iov[i].iov_base = memory + at;
		iov[i].iov_len = i * 3 % 41 + (i % 10 == 9 ? 1001 : 0);
		fill(iov[i].iov_base, iov[i].iov_len, total, 1);
		at += iov[i].iov_len + 1;
		total += iov[i].iov_len;
	}
	ASSERT_EQ(total, writev(self->fd, iov, ARRAY_LEN(iov)));
	EXPECT_EQ(total, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(total, right_at(self->fd, 0, total, 1));
}

/* What QEMU writes for guest memory: a header of eight bytes and a page, sixteen times. */
TEST_F(write, headers_and_pages_in_turn)
{
	static unsigned char headers[16][8], pages[16][PAGE];
	struct iovec iov[32];
	long long pos = 0;

	for (int i = 0; i < 16; i++) {
		iov[2 * i] = (struct iovec){ .iov_base = headers[i], .iov_len = 8 };
		iov[2 * i + 1] = (struct iovec){ .iov_base = pages[i], .iov_len = PAGE };
	}
	for (int round = 0; round < 64; round++) {
		for (int i = 0; i < 16; i++) {
			fill(headers[i], 8, pos, 1);
			fill(pages[i], PAGE, pos + 8, 1);
			pos += PAGE + 8;
		}
		ASSERT_EQ(16 * (PAGE + 8), writev(self->fd, iov, 32));
	}
	EXPECT_EQ(pos, length_of(self->fd));
	EXPECT_EQ(pos, right_at(self->fd, 0, pos, 1));
}

TEST_F(write, iov_max_vectors_and_no_more)
{
	static struct iovec iov[IOV_MAX + 1];
	static unsigned char memory[3 * IOV_MAX + 3];

	fill(memory, sizeof(memory), 0, 1);
	for (int i = 0; i <= IOV_MAX; i++)
		iov[i] = (struct iovec){ .iov_base = memory + 3 * i, .iov_len = 3 };
	EXPECT_EQ(3 * IOV_MAX, writev(self->fd, iov, IOV_MAX));
	EXPECT_EQ(3 * IOV_MAX, right_at(self->fd, 0, 3 * IOV_MAX, 1));
	EXPECT_EQ(3 * IOV_MAX, pwritev(self->fd, iov, IOV_MAX, 3 * IOV_MAX));
	EXPECT_EQ(EINVAL, ERRNO_OF(writev(self->fd, iov, IOV_MAX + 1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwritev(self->fd, iov, IOV_MAX + 1, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(syscall(SYS_writev, self->fd, iov, -1L)));
	iov[3].iov_len = -1;
	EXPECT_EQ(EINVAL, ERRNO_OF(writev(self->fd, iov, 5)));
	EXPECT_EQ(EFAULT, ERRNO_OF(writev(self->fd, nowhere(), 1)));
	EXPECT_EQ(6 * IOV_MAX, length_of(self->fd));
	EXPECT_EQ(3 * IOV_MAX, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(write, flags_that_fit_are_accepted)
{
	const int flags[] = {
		RWF_NOWAIT, RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOAPPEND, RWF_ATOMIC,
		RWF_NOWAIT | RWF_SYNC | RWF_ATOMIC,
	};
	struct iovec iov;
	char bytes[60];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = sizeof(bytes) };
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		fill(bytes, sizeof(bytes), 3, 1 + i);
		EXPECT_EQ(60, pwritev2(self->fd, &iov, 1, 3, flags[i]))
			TH_LOG("flags %#x: %m", flags[i]);
		EXPECT_EQ(60, right_at(self->fd, 3, 60, 1 + i));
	}
	EXPECT_EQ(63, length_of(self->fd));
}

TEST_F(write, flags_that_do_not_fit_are_refused)
{
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };

	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, 1 << 30)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, 1 << 30 | RWF_NOWAIT)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_APPEND | RWF_NOAPPEND)));
	EXPECT_EQ(0, length_of(self->fd));
}

/* The largest offset is that of the type: 2^63 - 1, for the position after the last byte. */
TEST_F(write, up_to_the_largest_offset)
{
	char bytes[20];

	EXPECT_EQ(10, pwrite(self->fd, fill(bytes, 10, OFFSET_MAX - 20, 1), 10, OFFSET_MAX - 20));
	EXPECT_EQ(OFFSET_MAX - 10, length_of(self->fd));
	/* To the end by O_APPEND: the VFS has no say in where that is. */
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	fill(bytes, 20, OFFSET_MAX - 10, 1);
	EXPECT_EQ(10, write(self->fd, bytes, 20));
	EXPECT_EQ(OFFSET_MAX, length_of(self->fd));
	EXPECT_EQ(OFFSET_MAX, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(20, right_at(self->fd, OFFSET_MAX - 20, 20, 1));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(EFBIG, ERRNO_OF(write(self->fd, bytes, 20)));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(OFFSET_MAX, length_of(self->fd));
}

TEST_F(write, rlimit_fsize_is_kept)
{
	struct rlimit limit = { .rlim_cur = 10000, .rlim_max = RLIM_INFINITY };
	struct sigaction action = { .sa_handler = count_signal };
	struct iovec iov[2];
	char bytes[100];

	ASSERT_EQ(0, sigaction(SIGXFSZ, &action, NULL));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	/* Short up to the limit, without a signal. */
	EXPECT_EQ(50, pwrite(self->fd, fill(bytes, 100, 9950, 1), 100, 9950));
	EXPECT_EQ(0, signals);
	EXPECT_EQ(10000, length_of(self->fd));
	EXPECT_EQ(50, right_at(self->fd, 9950, 50, 1));
	/* Nothing at the limit and past it, with one. */
	EXPECT_EQ(EFBIG, ERRNO_OF(pwrite(self->fd, bytes, 100, 10000)));
	EXPECT_EQ(1, signals);
	EXPECT_EQ(EFBIG, ERRNO_OF(pwrite(self->fd, bytes, 1, TiB)));
	EXPECT_EQ(2, signals);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(EFBIG, ERRNO_OF(write(self->fd, bytes, 100)));
	EXPECT_EQ(3, signals);
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	/* In the second vector. */
	iov[0] = (struct iovec){ .iov_base = bytes, .iov_len = 30 };
	iov[1] = (struct iovec){ .iov_base = bytes + 30, .iov_len = 70 };
	fill(bytes, 100, 9960, 2);
	EXPECT_EQ(40, pwritev(self->fd, iov, 2, 9960));
	EXPECT_EQ(40, right_at(self->fd, 9960, 40, 2));
	/* All of it below the limit. */
	EXPECT_EQ(100, pwrite(self->fd, fill(bytes, 100, 9900, 3), 100, 9900));
	EXPECT_EQ(3, signals);
	EXPECT_EQ(10000, length_of(self->fd));
	/* Reading and seeking are not limited. */
	EXPECT_EQ(TiB, lseek(self->fd, TiB, SEEK_SET));
	EXPECT_EQ(0, read(self->fd, bytes, 1));
}

TEST_F(write, sigxfsz_kills_who_does_not_handle_it)
{
	struct rlimit limit = { .rlim_cur = 10, .rlim_max = RLIM_INFINITY };
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0) {
		signal(SIGXFSZ, SIG_DFL);
		setrlimit(RLIMIT_FSIZE, &limit);
		write(self->fd, "0123456789", 10);
		_exit(write(self->fd, "x", 1));
	}
	EXPECT_EQ(128 + SIGXFSZ, status_of(child));
	EXPECT_EQ(10, length_of(self->fd));
}

/*
 * Reads and writes of any kind, anywhere, against an array of bytes. The places
 * and lengths are drawn from near the borders of pages, chunks and nodes.
 */
TEST_F(write, behaves_like_an_array_of_bytes)
{
	enum { SIZE = 3 << 20, ROUNDS = 3000 };
	unsigned char *model = fresh_memory(SIZE), *memory = fresh_memory(SIZE);
	const long long borders[] = { 0, PAGE, CHUNK, NODE, 2 * NODE, SLICE, 2 * SLICE };
	const long long lens[] = { 1, 9, 100, PAGE, 3 * PAGE, CHUNK, NODE };
	unsigned int seed = 12345;
	long long len_now = 0, pos_now = 0;

	ASSERT_NE(NULL, model);
	ASSERT_NE(NULL, memory);
	for (int round = 0; round < ROUNDS; round++) {
		long long pos = borders[draw(&seed, ARRAY_LEN(borders))] + draw(&seed, 2001) - 1000;
		int kinds = draw(&seed, 8) ? 4 : ARRAY_LEN(lens);
		long long len = lens[draw(&seed, kinds)] + draw(&seed, 21) - 10;
		int what = draw(&seed, 6);
		struct iovec iov[2];
		long long most, cut;

		pos = pos < 0 ? -pos : pos;
		len = len < 0 ? -len : len;
		cut = len ? draw(&seed, len) : 0;
		if (draw(&seed, 10) == 0)
			pos = len_now;
		/* Keep within the array. */
		pos = pos > SIZE - 2 * NODE ? PAGE : pos;
		what = pos_now > SIZE - 2 * NODE ? 0 : what;
		iov[0] = (struct iovec){ .iov_base = memory, .iov_len = cut };
		iov[1] = (struct iovec){ .iov_base = memory + cut, .iov_len = len - cut };
		if (what == 0) {
			ASSERT_EQ(pos, lseek(self->fd, pos, SEEK_SET));
			pos_now = pos;
			continue;
		}
		if (what == 1 || what == 3)
			pos = pos_now;
		most = pos < len_now ? len_now - pos : 0;
		most = len < most ? len : most;
		if (what == 1 || what == 2) {
			ssize_t got = what == 1 ? readv(self->fd, iov, 2) :
						  pread(self->fd, memory, len, pos);

			ASSERT_EQ(most, got) TH_LOG("round %d: %lld at %lld", round, len, pos);
			ASSERT_EQ(0, memcmp(memory, model + pos, got))
				TH_LOG("round %d: %lld at %lld", round, len, pos);
			pos_now = what == 1 ? pos + got : pos_now;
		} else {
			ssize_t put;

			fill(memory, len, round * 8, 1);
			put = what == 3 ? write(self->fd, memory, len) :
			      what == 4 ? pwritev(self->fd, iov, 2, pos) :
					  pwritev2(self->fd, iov, 2, pos, RWF_ATOMIC);
			ASSERT_EQ(len, put) TH_LOG("round %d: %lld at %lld: %m", round, len, pos);
			memcpy(model + pos, memory, len);
			if (len > 0 && pos + len > len_now)
				len_now = pos + len;
			pos_now = what == 3 ? pos + len : pos_now;
		}
		ASSERT_EQ(pos_now, lseek(self->fd, 0, SEEK_CUR));
	}
	ASSERT_EQ(len_now, length_of(self->fd));
	ASSERT_EQ(len_now, pread(self->fd, memory, SIZE, 0));
	EXPECT_EQ(0, memcmp(model, memory, len_now));
}

TEST_HARNESS_MAIN
