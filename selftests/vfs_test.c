// SPDX-License-Identifier: GPL-2.0
/*
 * Calls that the VFS answers for a character device without asking the driver:
 * that the answer is the errno that the manual pages name, and that nothing
 * happens to the stream.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <termios.h>

#include "harness.h"

FIXTURE(vfs) {
	int fd;
	int other;
};

FIXTURE_SETUP(vfs)
{
	self->fd = open_device(O_RDWR);
	self->other = open_device(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(100, lseek(self->fd, 100, SEEK_SET));
}

FIXTURE_TEARDOWN(vfs)
{
	EXPECT_EQ(1000, length_of(self->fd));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(100, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, length_of(self->other));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, close(self->other));
}

TEST_F(vfs, ftruncate_is_einval)
{
	int reader = open_device(O_RDONLY);

	ASSERT_LE(0, reader);
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(self->fd, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(self->fd, 2000)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(self->fd, -1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ftruncate(reader, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(truncate(DEVICE, 0)));
	close(reader);
}

TEST_F(vfs, fallocate_is_enodev)
{
	const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_UNSHARE_RANGE,
	};
	int reader = open_device(O_RDONLY);

	ASSERT_LE(0, reader);
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		EXPECT_EQ(ENODEV, ERRNO_OF(fallocate(self->fd, modes[i], 0, PAGE)))
			TH_LOG("mode %#x", modes[i]);
	}
	EXPECT_EQ(ENODEV, posix_fallocate(self->fd, 0, PAGE));
	EXPECT_EQ(EINVAL, ERRNO_OF(fallocate(self->fd, 0, -1, PAGE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fallocate(self->fd, 0, 0, 0)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE)));
	EXPECT_EQ(EBADF, ERRNO_OF(fallocate(reader, 0, 0, PAGE)));
	close(reader);
}

TEST_F(vfs, copy_file_range_is_einval)
{
	int file = file_with(1000, 1);
	off_t from = 0, to = 0;

	ASSERT_LE(0, file);
	EXPECT_EQ(EINVAL, ERRNO_OF(copy_file_range(self->fd, &from, self->other, &to, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(copy_file_range(self->fd, &from, file, &to, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(copy_file_range(file, &from, self->fd, &to, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(copy_file_range(self->fd, NULL, self->other, NULL, 10, 0)));
	EXPECT_EQ(0, from);
	EXPECT_EQ(0, to);
	close(file);
}

TEST_F(vfs, clones_are_einval)
{
	struct file_clone_range range = { .src_fd = self->fd, .src_length = 100 };
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} same = {
		.head = { .src_length = 100, .dest_count = 1 },
		.info = { .dest_fd = self->other },
	};
	int file = file_with(1000, 1);

	ASSERT_LE(0, file);
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->other, FICLONE, self->fd)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->other, FICLONERANGE, &range)));
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, FIDEDUPERANGE, &same)));
	/* Not on one file system: that is looked at first. */
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(file, FICLONE, self->fd)));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(self->fd, FICLONE, file)));
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(self->fd, FICLONE, -1)));
	close(file);
}

TEST_F(vfs, reading_a_directory_is_enotdir)
{
	char entries[1024];

	EXPECT_EQ(ENOTDIR, ERRNO_OF(syscall(SYS_getdents64, self->fd, entries, sizeof(entries))));
	EXPECT_EQ(ENOTDIR, ERRNO_OF(fchdir(self->fd)));
	EXPECT_EQ(ENOTDIR, ERRNO_OF(openat(self->fd, "x", O_RDONLY)));
	EXPECT_EQ(NULL, fdopendir(self->fd));
	EXPECT_EQ(ENOTDIR, errno);
}

TEST_F(vfs, directory_notification_is_enotdir)
{
	EXPECT_EQ(ENOTDIR, ERRNO_OF(fcntl(self->fd, F_NOTIFY, DN_MODIFY)));
	EXPECT_EQ(0, fcntl(self->fd, F_NOTIFY, 0));
}

TEST_F(vfs, status_flags_can_be_changed_freely)
{
	const int flags[] = { O_NONBLOCK, O_APPEND, O_DIRECT, O_NOATIME };
	int all = O_NONBLOCK | O_APPEND | O_DIRECT | O_NOATIME;

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		EXPECT_EQ(0, fcntl(self->fd, F_SETFL, flags[i]));
		EXPECT_EQ(flags[i], fcntl(self->fd, F_GETFL) & all);
	}
	/* What cannot be changed is ignored. */
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, O_WRONLY | O_SYNC | O_TRUNC | O_CREAT));
	EXPECT_EQ(O_RDWR, fcntl(self->fd, F_GETFL) & (O_ACCMODE | O_SYNC | O_TRUNC | O_CREAT));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, 0));
}

TEST_F(vfs, fionbio_is_o_nonblock)
{
	int on = 1, off = 0;

	EXPECT_EQ(0, ioctl(self->fd, FIONBIO, &on));
	EXPECT_EQ(O_NONBLOCK, fcntl(self->fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(0, ioctl(self->fd, FIONBIO, &off));
	EXPECT_EQ(0, fcntl(self->fd, F_GETFL) & O_NONBLOCK);
}

TEST_F(vfs, a_lease_is_einval)
{
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_SETLEASE, F_RDLCK)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_SETLEASE, F_WRLCK)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_SETLEASE, F_UNLCK)));
	EXPECT_EQ(F_UNLCK, fcntl(self->fd, F_GETLEASE));
}

TEST_F(vfs, seals_are_einval)
{
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(self->fd, F_GET_SEALS)));
}

TEST_F(vfs, it_is_no_pipe_and_no_socket)
{
	EXPECT_EQ(EBADF, ERRNO_OF(fcntl(self->fd, F_SETPIPE_SZ, 4096)));
	EXPECT_EQ(EBADF, ERRNO_OF(fcntl(self->fd, F_GETPIPE_SZ)));
	EXPECT_EQ(EBADF, ERRNO_OF(vmsplice(self->fd, &(struct iovec){ "x", 1 }, 1, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(tee(self->fd, self->other, 10, 0)));
	EXPECT_EQ(ENOTSOCK, ERRNO_OF(listen(self->fd, 1)));
	EXPECT_EQ(ENOTSOCK, ERRNO_OF(shutdown(self->fd, SHUT_WR)));
	EXPECT_EQ(ENOTSOCK, ERRNO_OF(recv(self->fd, NULL, 0, 0)));
}

TEST_F(vfs, it_is_no_terminal)
{
	EXPECT_EQ(0, isatty(self->fd));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(vfs, an_unknown_ioctl_is_enotty)
{
	const unsigned long numbers[] = {
		0, 1, TIOCGWINSZ, BLKGETSIZE64, BLKFLSBUF, FIOQSIZE, 0xef, 0xefff, 0x8008efff,
		0xffffffff,
	};
	char room[4096] = {};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		EXPECT_EQ(ENOTTY, ERRNO_OF(ioctl(self->fd, numbers[i], room)))
			TH_LOG("ioctl %#lx", numbers[i]);
	}
}

TEST_F(vfs, fiemap_is_eopnotsupp)
{
	char map[4096] = {};

	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(ioctl(self->fd, _IOWR('f', 11, char[32]), map)));
}

TEST_F(vfs, advice_is_accepted)
{
	const int advice[] = {
		POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED,
		POSIX_FADV_DONTNEED, POSIX_FADV_NOREUSE,
	};

	for (size_t i = 0; i < ARRAY_LEN(advice); i++) {
		EXPECT_EQ(0, posix_fadvise(self->fd, 0, 0, advice[i]));
		EXPECT_EQ(0, posix_fadvise(self->fd, 5, 500, advice[i]));
		EXPECT_EQ(0, posix_fadvise(self->fd, TiB, GiB, advice[i]));
	}
	EXPECT_EQ(EINVAL, posix_fadvise(self->fd, 0, 0, 77));
	EXPECT_EQ(EINVAL, posix_fadvise(self->fd, 0, -1, POSIX_FADV_NORMAL));
}

TEST_F(vfs, readahead_is_einval)
{
	EXPECT_EQ(EINVAL, ERRNO_OF(readahead(self->fd, 0, 1000)));
}

TEST_F(vfs, sync_file_range_is_espipe)
{
	EXPECT_EQ(ESPIPE, ERRNO_OF(sync_file_range(self->fd, 0, 0, SYNC_FILE_RANGE_WRITE)));
	EXPECT_EQ(EINVAL, ERRNO_OF(sync_file_range(self->fd, 0, 0, 1 << 20)));
}

TEST_F(vfs, it_cannot_be_executed)
{
	char *argv[] = { "x", NULL };

	EXPECT_EQ(EACCES, ERRNO_OF(execveat(self->fd, "", argv, argv, AT_EMPTY_PATH)));
	EXPECT_EQ(EACCES, ERRNO_OF(execve(DEVICE, argv, argv)));
}

TEST_F(vfs, it_is_no_swap)
{
	EXPECT_EQ(EINVAL, ERRNO_OF(swapon(DEVICE, 0)));
}

TEST_F(vfs, fstat_is_the_nodes)
{
	struct stat st, node;
	struct statx stx;
	struct statfs fs, dev;

	ASSERT_EQ(0, stat(DEVICE, &node));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(node.st_ino, st.st_ino);
	EXPECT_EQ(node.st_rdev, st.st_rdev);
	EXPECT_EQ(0, st.st_size);
	EXPECT_EQ(0, statx(self->fd, "", AT_EMPTY_PATH, STATX_ALL, &stx));
	ASSERT_EQ(0, fstatfs(self->fd, &fs));
	ASSERT_EQ(0, statfs("/dev", &dev));
	EXPECT_EQ(dev.f_type, fs.f_type);
}

TEST_F(vfs, attributes_are_the_nodes)
{
	struct stat node;

	EXPECT_EQ(0, fchmod(self->fd, 0640));
	ASSERT_EQ(0, stat(DEVICE, &node));
	EXPECT_EQ(S_IFCHR | 0640, node.st_mode);
	EXPECT_EQ(0, fchmod(self->other, 0600));
	ASSERT_EQ(0, stat(DEVICE, &node));
	EXPECT_EQ(S_IFCHR | 0600, node.st_mode);
	EXPECT_EQ(0, futimens(self->fd, NULL));
}

TEST_HARNESS_MAIN
