// SPDX-License-Identifier: GPL-2.0
/*
 * Advisory locks: fcntl(2) locks of processes and of open files, flock(2). They
 * work across processes. They are the inode's: each stream's regular file has
 * one, but to the device it is the node, so that streams opened through it share
 * locks, though no bytes.
 */
#include <sys/file.h>

#include "harness.h"

#if __SIZEOF_LONG__ == 4
#define SYS_LOCK SYS_fcntl64
#else
#define SYS_LOCK SYS_fcntl
#endif

STREAM_FIXTURE(lock)

/* Another open file of the same inode. */
static int open_again(int (*open)(int), int fd)
{
	return open == open_device ? open_device(O_RDWR) : reopen(fd, O_RDWR);
}

static int lock_range(int fd, int command, int type, off_t start, off_t len)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len,
	};

	return fcntl(fd, command, &lock);
}

TEST_F(lock, posix_locks_exclude_other_processes)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 150 };
	pid_t child;

	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 100, 100));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		EXPECT_EQ(EAGAIN, ERRNO_OF(lock_range(self->fd, F_SETLK, F_RDLCK, 199, 1)));
		EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 100));
		EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 200, 0));
		EXPECT_EQ(0, fcntl(self->fd, F_GETLK, &lock));
		EXPECT_EQ(F_WRLCK, lock.l_type);
		EXPECT_EQ(getppid(), lock.l_pid);
		EXPECT_EQ(100, lock.l_start);
		EXPECT_EQ(100, lock.l_len);
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	/* The child's are gone with it. */
	EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 0));
	EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_UNLCK, 0, 0));
}

TEST_F(lock, posix_locks_are_shared_by_readers)
{
	pid_t child;

	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_RDLCK, 0, 0));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_RDLCK, 0, 10));
		EXPECT_EQ(EAGAIN, ERRNO_OF(lock_range(self->fd, F_SETLK, F_WRLCK, 0, 10)));
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
}

TEST_F(lock, posix_locks_ask_for_the_access_mode)
{
	int reader = variant->open(O_RDONLY), writer = variant->open(O_WRONLY);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	EXPECT_EQ(EBADF, ERRNO_OF(lock_range(reader, F_SETLK, F_WRLCK, 0, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(lock_range(writer, F_SETLK, F_RDLCK, 0, 1)));
	EXPECT_EQ(0, lock_range(reader, F_SETLK, F_RDLCK, 0, 1));
	EXPECT_EQ(0, lock_range(writer, F_SETLK, F_WRLCK, 10, 1));
	close(reader);
	close(writer);
}

TEST_F(lock, a_waiting_posix_lock_is_granted)
{
	pid_t child;

	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 10));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(lock_range(self->fd, F_SETLKW, F_WRLCK, 0, 10) ? errno : 0);
	EXPECT_TRUE(sleeps_in(child, SYS_LOCK));
	EXPECT_EQ(0, waitpid(child, NULL, WNOHANG));
	EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_UNLCK, 0, 10));
	EXPECT_EQ(0, status_of(child));
}

TEST_F(lock, a_deadlock_of_posix_locks_is_edeadlk)
{
	int ready[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 1));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		if (lock_range(self->fd, F_SETLK, F_WRLCK, 1, 1))
			_exit(1);
		write(ready[1], "x", 1);
		_exit(lock_range(self->fd, F_SETLKW, F_WRLCK, 0, 1) != 0);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_TRUE(sleeps_in(child, SYS_LOCK));
	EXPECT_EQ(EDEADLK, ERRNO_OF(lock_range(self->fd, F_SETLKW, F_WRLCK, 1, 1)));
	EXPECT_EQ(0, lock_range(self->fd, F_SETLK, F_UNLCK, 0, 1));
	EXPECT_EQ(0, status_of(child));
}

TEST_F(lock, posix_locks_go_with_any_close)
{
	int dup_fd = dup(self->fd);
	pid_t child;

	ASSERT_LE(0, dup_fd);
	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 0));
	ASSERT_EQ(0, close(dup_fd));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(lock_range(self->fd, F_SETLK, F_WRLCK, 0, 0) ? errno : 0);
	EXPECT_EQ(0, status_of(child));
}

/* As for any file, and as the last close must release them. */
TEST_F(lock, open_file_locks_are_the_files)
{
	int other = open_again(variant->open, self->fd), dup_fd = dup(self->fd);

	ASSERT_LE(0, other);
	ASSERT_LE(0, dup_fd);
	EXPECT_EQ(0, lock_range(self->fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	EXPECT_EQ(0, lock_range(dup_fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	EXPECT_EQ(EAGAIN, ERRNO_OF(lock_range(other, F_OFD_SETLK, F_WRLCK, 0, 10)));
	EXPECT_EQ(0, close(dup_fd));
	EXPECT_EQ(EAGAIN, ERRNO_OF(lock_range(other, F_OFD_SETLK, F_WRLCK, 0, 10)));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, lock_range(other, F_OFD_SETLK, F_WRLCK, 0, 10));
	EXPECT_EQ(0, close(other));
}

TEST_F(lock, flock_excludes_other_files)
{
	int other = open_again(variant->open, self->fd), dup_fd = dup(self->fd);

	ASSERT_LE(0, other);
	ASSERT_LE(0, dup_fd);
	EXPECT_EQ(0, flock(self->fd, LOCK_EX | LOCK_NB));
	EXPECT_EQ(0, flock(dup_fd, LOCK_EX | LOCK_NB));
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(flock(other, LOCK_SH | LOCK_NB)));
	EXPECT_EQ(0, flock(self->fd, LOCK_SH | LOCK_NB));
	EXPECT_EQ(0, flock(other, LOCK_SH | LOCK_NB));
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(flock(other, LOCK_EX | LOCK_NB)));
	EXPECT_EQ(0, flock(dup_fd, LOCK_UN));
	EXPECT_EQ(0, flock(other, LOCK_EX | LOCK_NB));
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(0, close(dup_fd));
}

TEST_F(lock, flock_is_inherited_and_released_by_the_last_close)
{
	int other = open_again(variant->open, self->fd);
	int pipe_fds[2];
	pid_t child;
	char byte;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(0, flock(self->fd, LOCK_EX));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &byte, 1) != 0);
	}
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(flock(other, LOCK_EX | LOCK_NB)));
	close(pipe_fds[1]);
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, flock(other, LOCK_EX | LOCK_NB));
	EXPECT_EQ(0, close(other));
}

TEST_F(lock, streams_share_locks_only_on_the_device)
{
	int error = variant->open == open_device ? EWOULDBLOCK : 0;
	int other = variant->open(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, flock(self->fd, LOCK_EX));
	ASSERT_EQ(0, lock_range(self->fd, F_OFD_SETLK, F_WRLCK, 0, 0));
	EXPECT_EQ(error, ERRNO_OF(flock(other, LOCK_EX | LOCK_NB)));
	EXPECT_EQ(error, ERRNO_OF(lock_range(other, F_OFD_SETLK, F_WRLCK, 0, 0)));
	close(other);
}

TEST_F(lock, a_lock_does_not_keep_others_from_writing)
{
	pid_t child;

	ASSERT_EQ(0, lock_range(self->fd, F_SETLK, F_WRLCK, 0, 0));
	ASSERT_EQ(0, flock(self->fd, LOCK_EX));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(put_at(self->fd, 0, 100, 1) != 100);
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
}

TEST_HARNESS_MAIN
