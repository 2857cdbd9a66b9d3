// SPDX-License-Identifier: GPL-2.0
/*
 * What a stream's regular file has and the device has not: ftruncate(2),
 * fallocate(2), copy_file_range(2), FICLONE and its kin.
 */
#include <linux/fs.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "harness.h"

FIXTURE(file) {
	int fd;
};

FIXTURE_SETUP(file)
{
	self->fd = open_file(O_RDWR);
	ASSERT_LE(0, self->fd) TH_LOG("%m");
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
}

static long long allocated(int fd)
{
	struct stat st;

	if (fstat(fd, &st) || (long long)info_of(fd).allocated != st.st_blocks * 512LL)
		return -1;
	return info_of(fd).allocated;
}

/* ---- length ---- */

TEST_F(file, ftruncate_sets_the_length)
{
	struct stat st;
	char path[64];

	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	EXPECT_EQ(0, ftruncate(self->fd, PAGE + 5));
	EXPECT_EQ(PAGE + 5, length_of(self->fd));
	EXPECT_EQ(2 * PAGE, allocated(self->fd));
	EXPECT_EQ(0, ftruncate(self->fd, NODE));
	EXPECT_EQ(PAGE + 5, right_at(self->fd, 0, PAGE + 5, 1));
	EXPECT_EQ(NODE - PAGE - 5, right_at(self->fd, PAGE + 5, NODE - PAGE - 5, ZEROS));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(NODE, st.st_size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	EXPECT_EQ(0, truncate(path, 7));
	EXPECT_EQ(7, length_of(self->fd));
	EXPECT_EQ(0, ftruncate(self->fd, OFFSET_MAX));
	EXPECT_EQ(OFFSET_MAX, length_of(self->fd));
	EXPECT_EQ(0, ftruncate(self->fd, 0));
	EXPECT_EQ(0, allocated(self->fd));
}

TEST_F(file, ftruncate_is_refused_as_a_wrong_call)
{
	struct rlimit limit = { .rlim_cur = 5000, .rlim_max = RLIM_INFINITY };
	struct qemufile_limit most = { .limit = 4000 };
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(reader, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(self->fd, -1)));
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, ERRNO_OF(ftruncate(self->fd, 5001)));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &most));
	EXPECT_EQ(ENOSPC, ERRNO_OF(ftruncate(self->fd, 4001)));
	EXPECT_EQ(100, length_of(self->fd));
	EXPECT_EQ(0, ftruncate(self->fd, 4000));
	close(reader);
}

TEST_F(file, ftruncate_wakes_readers)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct pending_read call;

	ASSERT_LE(0, reader);
	ASSERT_TRUE(read_waits(&call, reader, 100, -1));
	EXPECT_EQ(0, ftruncate(self->fd, 50));
	EXPECT_EQ(50, read_result(&call, 5000));
	close(reader);
}

/* ---- fallocate ---- */

TEST_F(file, fallocate_reserves_memory)
{
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, fallocate(self->fd, 0, 50, NODE));
	EXPECT_EQ(NODE + 50, length_of(self->fd));
	EXPECT_EQ(NODE + PAGE, allocated(self->fd));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	EXPECT_EQ(NODE - 50, right_at(self->fd, 100, NODE - 50, ZEROS));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, posix_fallocate(self->fd, MiB, 10));
	EXPECT_EQ(MiB + 10, length_of(self->fd));
	EXPECT_EQ(NODE + 2 * PAGE, allocated(self->fd));
}

TEST_F(file, fallocate_can_keep_the_length)
{
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, NODE));
	EXPECT_EQ(100, length_of(self->fd));
	EXPECT_EQ(NODE, allocated(self->fd));
	/* What was set aside is used. */
	EXPECT_EQ(NODE, put_at(self->fd, 0, NODE, 2));
	EXPECT_EQ(NODE, allocated(self->fd));
	EXPECT_EQ(NODE, right_at(self->fd, 0, NODE, 2));
	/* And given back with the length. */
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, NODE, NODE));
	EXPECT_EQ(0, ftruncate(self->fd, NODE));
	EXPECT_EQ(NODE, length_of(self->fd));
	EXPECT_EQ(NODE, right_at(self->fd, 0, NODE, 2));
}

TEST_F(file, what_was_reserved_shows_nothing_old)
{
	for (int round = 0; round < 3; round++) {
		int fd = open_file(O_RDWR);

		ASSERT_LE(0, fd);
		ASSERT_EQ(4 * MiB, put_at(fd, 0, 4 * MiB, 9));
		ASSERT_EQ(0, close(fd));
		fd = open_file(O_RDWR);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, fallocate(fd, 0, 0, 4 * MiB));
		ASSERT_EQ(4 * MiB, right_at(fd, 0, 4 * MiB, ZEROS));
		ASSERT_EQ(0, close(fd));
	}
}

TEST_F(file, fallocate_punches)
{
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	EXPECT_EQ(0, fallocate(self->fd, punch, PAGE + 1, 3 * PAGE));
	EXPECT_EQ(NODE - 2 * PAGE, allocated(self->fd));
	EXPECT_EQ(PAGE + 1, right_at(self->fd, 0, PAGE + 1, 1));
	EXPECT_EQ(3 * PAGE, right_at(self->fd, PAGE + 1, 3 * PAGE, ZEROS));
	EXPECT_EQ(NODE - 4 * PAGE - 1, right_at(self->fd, 4 * PAGE + 1, NODE - 4 * PAGE - 1, 1));
	EXPECT_EQ(2 * PAGE, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(4 * PAGE, lseek(self->fd, 2 * PAGE, SEEK_DATA));
	EXPECT_EQ(0, fallocate(self->fd, punch, NODE, NODE));
	EXPECT_EQ(NODE, length_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, punch, 0, NODE));
	EXPECT_EQ(0, allocated(self->fd));
	EXPECT_EQ(NODE, length_of(self->fd));
}

TEST_F(file, fallocate_zeroes)
{
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, PAGE - 1, 2 * PAGE));
	EXPECT_EQ(PAGE - 1, right_at(self->fd, 0, PAGE - 1, 1));
	EXPECT_EQ(2 * PAGE, right_at(self->fd, PAGE - 1, 2 * PAGE, ZEROS));
	EXPECT_EQ(NODE, length_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, NODE - 5, 50));
	EXPECT_EQ(NODE, length_of(self->fd));
	EXPECT_EQ(5, right_at(self->fd, NODE - 5, 5, ZEROS));
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, NODE - 10, 50));
	EXPECT_EQ(NODE + 40, length_of(self->fd));
	EXPECT_EQ(50, right_at(self->fd, NODE - 10, 50, ZEROS));
	EXPECT_EQ(NODE - 10 - 3 * PAGE, right_at(self->fd, 3 * PAGE, NODE - 10 - 3 * PAGE, 1));
}

TEST_F(file, fallocate_cannot_move_bytes)
{
	const int modes[] = {
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE,
		FALLOC_FL_PUNCH_HOLE, 1 << 20,
	};

	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (modes[i] == FALLOC_FL_UNSHARE_RANGE)
			continue;
		EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(fallocate(self->fd, modes[i], 0, PAGE)))
			TH_LOG("mode %#x", modes[i]);
	}
	EXPECT_EQ(NODE, length_of(self->fd));
	EXPECT_EQ(NODE, right_at(self->fd, 0, NODE, 1));
}

TEST_F(file, fallocate_keeps_to_the_limits)
{
	struct rlimit limit = { .rlim_cur = 3 * PAGE, .rlim_max = RLIM_INFINITY };
	struct qemufile_limit most = { .limit = 2 * PAGE };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_APPEND };
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	EXPECT_EQ(EBADF, ERRNO_OF(fallocate(reader, 0, 0, PAGE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fallocate(self->fd, 0, -1, PAGE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fallocate(self->fd, 0, 0, 0)));
	EXPECT_EQ(EFBIG, ERRNO_OF(fallocate(self->fd, 0, OFFSET_MAX, PAGE)));
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, ERRNO_OF(fallocate(self->fd, 0, 0, 3 * PAGE + 1)));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &most));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fallocate(self->fd, 0, 0, 2 * PAGE + 1)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, 2 * PAGE + 1)));
	EXPECT_EQ(0, length_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, 0, 0, 2 * PAGE));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(EPERM, ERRNO_OF(fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, PAGE)));
	close(reader);
}

/* ---- clones of ranges ---- */

TEST_F(file, ficlone_shares_all_bytes)
{
	const long long lens[] = { 1, PAGE, NODE + 5, 3 * MiB + 7 };

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		int other = open_file(O_RDWR);

		ASSERT_LE(0, other);
		ASSERT_EQ(0, ftruncate(self->fd, 0));
		ASSERT_EQ(lens[i], put_at(self->fd, 0, lens[i], 1));
		ASSERT_EQ(0, ioctl(other, FICLONE, self->fd)) TH_LOG("%lld: %m", lens[i]);
		EXPECT_EQ(lens[i], length_of(other));
		EXPECT_EQ(lens[i], right_at(other, 0, lens[i], 1));
		/* And neither sees what is written to the other. */
		EXPECT_EQ(lens[i], put_at(self->fd, 0, lens[i], 2));
		EXPECT_EQ(lens[i], right_at(other, 0, lens[i], 1));
		EXPECT_EQ(1, put_at(other, lens[i] / 2, 1, 3));
		EXPECT_EQ(lens[i], right_at(self->fd, 0, lens[i], 2));
		close(other);
	}
}

TEST_F(file, ficlonerange_shares_whole_pages)
{
	int other = open_file(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	ASSERT_EQ(NODE, put_at(other, 0, NODE, 2));
	EXPECT_EQ(0, clone_range(other, self->fd, PAGE, 2 * PAGE, 5 * PAGE));
	EXPECT_EQ(5 * PAGE, right_at(other, 0, 5 * PAGE, 2));
	EXPECT_EQ(NODE - 7 * PAGE, right_at(other, 7 * PAGE, NODE - 7 * PAGE, 2));
	for (long long at = 0; at < 2 * PAGE; at++) {
		char a, b;

		if (at % 97)
			continue;
		ASSERT_EQ(1, pread(other, &a, 1, 5 * PAGE + at));
		ASSERT_EQ(1, pread(self->fd, &b, 1, PAGE + at));
		ASSERT_EQ(b, a);
	}
	/* Past the end, with a hole between. */
	EXPECT_EQ(0, clone_range(other, self->fd, 0, NODE, 4 * NODE));
	EXPECT_EQ(5 * NODE, length_of(other));
	EXPECT_EQ(3 * NODE, right_at(other, NODE, 3 * NODE, ZEROS));
	/* A hole is cloned as well. */
	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * PAGE));
	EXPECT_EQ(0, clone_range(other, self->fd, 0, 8 * PAGE, 0));
	EXPECT_EQ(4 * PAGE, right_at(other, 0, 4 * PAGE, ZEROS));
	EXPECT_EQ(4 * PAGE, right_at(other, 4 * PAGE, 4 * PAGE, 1));
	close(other);
}

/* As fallocate(2) has it: what was data is memory for zeros, what was a hole gets some. */
TEST_F(file, fallocate_keeps_the_memory_of_what_it_zeroes)
{
	const int zero = FALLOC_FL_ZERO_RANGE, keep = FALLOC_FL_KEEP_SIZE;
	struct qemufile_info info;

	ASSERT_EQ(8 * PAGE, put_at(self->fd, 0, 8 * PAGE, 1));
	ASSERT_EQ(0, ftruncate(self->fd, 20 * PAGE));
	EXPECT_EQ(0, fallocate(self->fd, zero, PAGE + 5, 10 * PAGE));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(12 * PAGE, (long long)info.allocated);
	EXPECT_EQ(20 * PAGE, (long long)info.length);
	EXPECT_EQ(PAGE + 5, right_at(self->fd, 0, PAGE + 5, 1));
	EXPECT_EQ(19 * PAGE - 5, right_at(self->fd, PAGE + 5, 19 * PAGE - 5, ZEROS));
	/* Behind the end as well, with or without a new length. */
	EXPECT_EQ(0, fallocate(self->fd, zero | keep, 19 * PAGE, 4 * PAGE));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(16 * PAGE, (long long)info.allocated);
	EXPECT_EQ(20 * PAGE, length_of(self->fd));
	EXPECT_EQ(0, fallocate(self->fd, zero, 19 * PAGE, 5 * PAGE));
	EXPECT_EQ(24 * PAGE, length_of(self->fd));
	EXPECT_EQ(5 * PAGE, right_at(self->fd, 19 * PAGE, 5 * PAGE, ZEROS));
}

TEST_F(file, ficlonerange_within_one_stream)
{
	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	EXPECT_EQ(0, clone_range(self->fd, self->fd, 0, 4 * PAGE, NODE));
	EXPECT_EQ(NODE + 4 * PAGE, length_of(self->fd));
	EXPECT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 2));
	for (int i = 0; i < 4; i++) {
		char bytes[PAGE];

		ASSERT_EQ(PAGE, pread(self->fd, bytes, PAGE, NODE + i * PAGE));
		EXPECT_EQ(PAGE, right(bytes, PAGE, i * PAGE, 1));
	}
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(self->fd, self->fd, 0, 2 * PAGE, PAGE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, FICLONE, self->fd)));
}

TEST_F(file, a_wrong_clone_is_refused)
{
	int other = open_file(O_RDWR), reader = open_handle(other, O_RDONLY);
	int writer = open_handle(other, O_WRONLY), device = open_device(O_RDWR);
	int file = file_with(PAGE, 1), appender = open_handle(other, O_RDWR | O_APPEND);
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };

	ASSERT_LE(0, file);
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, 1, PAGE, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, 0, PAGE, 1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, 0, PAGE - 1, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, 0, NODE + PAGE, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, NODE + PAGE, 0, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(clone_range(other, self->fd, -PAGE, PAGE, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(clone_range(reader, self->fd, 0, PAGE, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(clone_range(self->fd, writer, 0, PAGE, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(clone_range(appender, self->fd, 0, PAGE, 0)));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(self->fd, FICLONE, device)));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(self->fd, FICLONE, file)));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(file, FICLONE, self->fd)));
	EXPECT_EQ(0, length_of(other));
	ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(EPERM, ERRNO_OF(clone_range(other, self->fd, 0, PAGE, 0)));
	close(other);
	close(reader);
	close(writer);
	close(appender);
	close(device);
	close(file);
}

TEST_F(file, a_clone_keeps_to_the_limits)
{
	struct rlimit limit = { .rlim_cur = 3 * PAGE, .rlim_max = RLIM_INFINITY };
	struct qemufile_limit most = { .limit = 2 * PAGE };
	int other = open_file(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, ERRNO_OF(clone_range(other, self->fd, 0, 4 * PAGE, 0)));
	ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_SET_LIMIT, &most));
	EXPECT_EQ(ENOSPC, ERRNO_OF(clone_range(other, self->fd, 0, 3 * PAGE, 0)));
	EXPECT_EQ(0, length_of(other));
	EXPECT_EQ(0, clone_range(other, self->fd, 0, 2 * PAGE, 0));
	EXPECT_EQ(2 * PAGE, right_at(other, 0, 2 * PAGE, 1));
	close(other);
}

/* ---- copy_file_range ---- */

TEST_F(file, copy_file_range_copies_any_range)
{
	const struct {
		long long from, len, to;
	} ranges[] = {
		{ 0, NODE, 0 }, { 1, 100, 7 }, { PAGE - 1, PAGE + 2, 3 * PAGE }, { 0, PAGE, NODE },
		{ 5, 2 * NODE, 5 }, { NODE + 1, NODE - 1, 1 },
	};
	char *memory = fresh_memory(2 * NODE), *copy = fresh_memory(2 * NODE);

	ASSERT_EQ(2 * NODE, put_at(self->fd, 0, 2 * NODE, 1));
	for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
		long long len = 2 * NODE - ranges[i].from, done = 0;
		off_t from = ranges[i].from, to = ranges[i].to;
		int other = open_file(O_RDWR);

		len = ranges[i].len < len ? ranges[i].len : len;
		ASSERT_LE(0, other);
		ASSERT_EQ(NODE, put_at(other, 0, NODE, 2));
		while (done < len) {
			ssize_t copied = copy_file_range(self->fd, &from, other, &to,
							 ranges[i].len - done, 0);

			ASSERT_LT(0, copied) TH_LOG("%zu: %m", i);
			done += copied;
		}
		ASSERT_EQ(len, done);
		ASSERT_EQ(ranges[i].from + len, from);
		ASSERT_EQ(ranges[i].to + len, to);
		ASSERT_EQ(len, pread(self->fd, memory, len, ranges[i].from));
		ASSERT_EQ(len, pread(other, copy, len, ranges[i].to));
		ASSERT_EQ(0, memcmp(memory, copy, len));
		ASSERT_EQ(ranges[i].to < NODE ? ranges[i].to : NODE,
			  right_at(other, 0, ranges[i].to < NODE ? ranges[i].to : NODE, 2));
		close(other);
	}
	/* At the end there is nothing. */
	EXPECT_EQ(2 * NODE, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(0, copy_file_range(self->fd, NULL, self->fd, &(off_t){ 0 }, 10, 0));
}

TEST_F(file, copy_file_range_moves_the_positions)
{
	int other = open_file(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(100, lseek(self->fd, 100, SEEK_SET));
	ASSERT_EQ(100, lseek(other, 100, SEEK_SET));
	EXPECT_EQ(300, copy_file_range(self->fd, NULL, other, NULL, 300, 0));
	EXPECT_EQ(400, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(400, lseek(other, 0, SEEK_CUR));
	EXPECT_EQ(300, right_at(other, 100, 300, 1));
	close(other);
}

/* ---- the rest ---- */

TEST_F(file, what_else_the_vfs_answers)
{
	int bytes = -1;
	struct statfs fs;
	struct stat st;

	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(100, lseek(self->fd, 100, SEEK_SET));
	EXPECT_EQ(0, ioctl(self->fd, FIONREAD, &bytes));
	EXPECT_EQ(900, bytes);
	EXPECT_EQ(0, fstatfs(self->fd, &fs));
	/* "QEMF" */
	EXPECT_EQ(0x51454d46, fs.f_type);
	EXPECT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(PAGE, st.st_blksize);
	EXPECT_EQ(ENOTDIR, ERRNO_OF(fchdir(self->fd)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_SETLEASE, F_RDLCK)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, 100, POSIX_FADV_WILLNEED));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_DONTNEED));
	EXPECT_EQ(EINVAL, posix_fadvise(self->fd, 0, 0, 77));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
}

TEST_F(file, attributes_change_through_a_descriptor_that_can_write)
{
	int reader = open_handle(self->fd, O_RDONLY);
	const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
	struct stat st;

	ASSERT_LE(0, reader);
	EXPECT_EQ(0, fchmod(self->fd, 0640));
	EXPECT_EQ(0, futimens(self->fd, times));
	ASSERT_EQ(0, fstat(reader, &st));
	EXPECT_EQ(S_IFREG | 0640, st.st_mode);
	EXPECT_EQ(1, st.st_atime);
	EXPECT_EQ(2, st.st_mtime);
	EXPECT_EQ(EACCES, ERRNO_OF(fchmod(reader, 0600)));
	EXPECT_EQ(EACCES, ERRNO_OF(futimens(reader, NULL)));
	ASSERT_EQ(0, fstat(reader, &st));
	EXPECT_EQ(S_IFREG | 0640, st.st_mode);
	EXPECT_EQ(2, st.st_mtime);
	close(reader);
}

/* Programs know it by name, but nobody can reach it by one. */
TEST_F(file, has_a_name_that_is_no_path)
{
	char path[64], name[256] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	ASSERT_LT(0, readlink(path, name, sizeof(name) - 1));
	EXPECT_NE(NULL, strstr(name, "qemufile"));
	EXPECT_NE(0, access(name, F_OK));
}

TEST_HARNESS_MAIN
