// SPDX-License-Identifier: GPL-2.0
/*
 * QEMUFILE_IOC_BUFOPEN: more handles on one stream. They share its bytes, and
 * each has its own position, access and error. So has a file that is opened once
 * more through /proc.
 */
#include <sys/socket.h>

#include "harness.h"

/* A stream, open as the device and as a regular file. */
FIXTURE(handle) {
	int device;
	int file;
};

FIXTURE_SETUP(handle)
{
	self->device = open_device(O_RDWR);
	ASSERT_LE(0, self->device);
	self->file = open_handle(self->device, O_RDWR);
	ASSERT_LE(0, self->file) TH_LOG("%m");
}

FIXTURE_TEARDOWN(handle)
{
	close(self->device);
	close(self->file);
}

TEST_F(handle, is_a_regular_file_that_exec_closes)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->file, &st));
	EXPECT_TRUE(S_ISREG(st.st_mode));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->file, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(self->file, F_GETFL) & O_ACCMODE);
}

TEST_F(handle, shares_the_bytes)
{
	EXPECT_EQ(NODE + 5, put_at(self->device, 0, NODE + 5, 1));
	EXPECT_EQ(NODE + 5, length_of(self->file));
	EXPECT_EQ(NODE + 5, right_at(self->file, 0, NODE + 5, 1));
	EXPECT_EQ(PAGE, put_at(self->file, NODE, PAGE, 2));
	EXPECT_EQ(NODE + PAGE, length_of(self->device));
	EXPECT_EQ(PAGE, right_at(self->device, NODE, PAGE, 2));
	EXPECT_EQ(NODE, right_at(self->device, 0, NODE, 1));
}

TEST_F(handle, has_a_position_of_its_own)
{
	char bytes[100];
	int other;

	ASSERT_EQ(100, write(self->device, fill(bytes, 100, 0, 1), 100));
	EXPECT_EQ(0, lseek(self->file, 0, SEEK_CUR));
	EXPECT_EQ(60, read(self->file, bytes, 60));
	EXPECT_EQ(100, lseek(self->device, 0, SEEK_CUR));
	other = open_handle(self->file, O_RDONLY);
	ASSERT_LE(0, other);
	EXPECT_EQ(0, lseek(other, 0, SEEK_CUR));
	EXPECT_EQ(100, read(other, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	EXPECT_EQ(60, lseek(self->file, 0, SEEK_CUR));
	EXPECT_EQ(0, close(other));
}

TEST_F(handle, never_has_more_access_than_the_one_that_is_asked)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };

	for (int kind = 0; kind < 2; kind++) {
		for (size_t i = 0; i < 3; i++) {
			int fd = kind ? open_file(modes[i]) : open_device(modes[i]);

			ASSERT_LE(0, fd);
			for (size_t j = 0; j < 3; j++) {
				int error = modes[i] == O_RDWR || i == j ? 0 : EACCES;
				int (*const calls[])(int, int) = { open_handle, open_clone };

				for (size_t k = 0; k < 2; k++) {
					int new = calls[k](fd, modes[j]);

					EXPECT_EQ(error, new < 0 ? errno : 0);
					if (new < 0)
						continue;
					EXPECT_EQ(modes[j], fcntl(new, F_GETFL) & O_ACCMODE);
					EXPECT_EQ(0, close(new));
				}
			}
			EXPECT_EQ(0, close(fd));
		}
	}
}

TEST_F(handle, keeps_its_own_access)
{
	int reader = open_handle(self->device, O_RDONLY);
	int writer = open_handle(self->device, O_WRONLY);
	char byte;

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	EXPECT_EQ(EBADF, ERRNO_OF(write(reader, "x", 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(read(writer, &byte, 1)));
	EXPECT_EQ(1, write(writer, "x", 1));
	EXPECT_EQ(1, read(reader, &byte, 1));
	EXPECT_EQ('x', byte);
	EXPECT_EQ(0, close(reader));
	EXPECT_EQ(0, close(writer));
}

TEST_F(handle, takes_the_flags_that_there_are)
{
	int fd = open_handle(self->device, O_RDWR | O_APPEND | O_NONBLOCK);

	ASSERT_LE(0, fd);
	EXPECT_EQ(O_RDWR | O_APPEND | O_NONBLOCK,
		  fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	ASSERT_EQ(100, put_at(self->device, 0, 100, 1));
	EXPECT_EQ(1, write(fd, "x", 1));
	EXPECT_EQ(101, length_of(self->device));
	EXPECT_EQ(0, close(fd));
}

TEST_F(handle, a_wrong_request_is_einval)
{
	const struct qemufile_open wrong[] = {
		{ .mode = 0 },
		{ .mode = 4 },
		{ .mode = QEMUFILE_MODE_READ | 8 },
		{ .mode = QEMUFILE_MODE_READ | 1U << 31 },
		{ .mode = QEMUFILE_MODE_READ, .flags = 4 },
		{ .mode = QEMUFILE_MODE_READ, .flags = 1U << 31 },
		{ .mode = QEMUFILE_MODE_READ, .flags = ~0U },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->device, QEMUFILE_IOC_BUFOPEN, &wrong[i])));
		EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->file, QEMUFILE_IOC_CLONE, &wrong[i])));
	}
	EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->device, QEMUFILE_IOC_BUFOPEN, nowhere())));
	EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->device, QEMUFILE_IOC_CLONE, nowhere())));
	EXPECT_EQ(EFAULT, ERRNO_OF(ioctl(self->device, QEMUFILE_IOC_BUFOPEN, NULL)));
}

TEST_F(handle, without_a_descriptor_is_emfile)
{
	struct rlimit limit = { .rlim_cur = 0, .rlim_max = 1000 };
	struct qemufile_info before, after;
	int last = dup(self->device);

	ASSERT_LE(0, last);
	limit.rlim_cur = last + 1;
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &before));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(EMFILE, ERRNO_OF(open_handle(self->device, O_RDWR)));
	EXPECT_EQ(EMFILE, ERRNO_OF(open_clone(self->device, O_RDWR)));
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &after));
	EXPECT_EQ(before.readers, after.readers);
	EXPECT_EQ(before.writers, after.writers);
	close(last);
}

TEST_F(handle, keeps_the_stream)
{
	int reader;

	ASSERT_EQ(3 * PAGE, put_at(self->device, 0, 3 * PAGE, 1));
	EXPECT_EQ(0, close(self->device));
	EXPECT_EQ(3 * PAGE, right_at(self->file, 0, 3 * PAGE, 1));
	reader = open_handle(self->file, O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(0, close(self->file));
	EXPECT_EQ(3 * PAGE, right_at(reader, 0, 3 * PAGE, 1));
	EXPECT_EQ(0, close(reader));
}

TEST_F(handle, has_an_error_of_its_own)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};

	ASSERT_EQ(4, writev(self->file, iov, 2));
	EXPECT_EQ(0, fsync(self->device));
	EXPECT_EQ(0, polled(self->device, 0));
	EXPECT_EQ(POLLERR, polled(self->file, 0));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(self->file)));
	EXPECT_EQ(0, close(self->device));
	EXPECT_EQ(EFAULT, ERRNO_OF(close(self->file)));
}

TEST_F(handle, hundreds_on_one_stream)
{
	enum { COUNT = 500 };
	static int fds[COUNT];
	struct qemufile_info info;

	for (int i = 0; i < COUNT; i++) {
		fds[i] = open_handle(i ? fds[i / 2] : self->file, O_RDWR);
		ASSERT_LE(0, fds[i]) TH_LOG("handle %d: %m", i);
		ASSERT_EQ(10, put_at(fds[i], 10 * i, 10, 1));
	}
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(COUNT + 2, info.readers);
	EXPECT_EQ(COUNT + 2, info.writers);
	for (int i = 0; i < COUNT; i++) {
		int which = (i * 7) % COUNT;

		ASSERT_EQ(10 * COUNT, right_at(fds[which], 0, 10 * COUNT, 1));
		ASSERT_EQ(0, close(fds[which]));
	}
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(2, info.readers);
	EXPECT_EQ(2, info.writers);
}

TEST_F(handle, duplicates_count_once)
{
	struct qemufile_info info;
	int fd = dup(self->file);
	pid_t child;

	ASSERT_LE(0, fd);
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		EXPECT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &info));
		EXPECT_EQ(2, info.readers);
		EXPECT_EQ(2, info.writers);
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, close(self->file));
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(2, info.writers);
	EXPECT_EQ(0, close(fd));
	ASSERT_EQ(0, ioctl(self->device, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(1, info.writers);
}

/* ---- opening once more, through /proc ---- */

TEST_F(handle, reopened_is_another_handle_on_the_same_stream)
{
	struct qemufile_info info;
	char bytes[100];
	int again;

	ASSERT_EQ(100, write(self->file, fill(bytes, 100, 0, 1), 100));
	again = reopen(self->file, O_RDWR);
	ASSERT_LE(0, again) TH_LOG("%m");
	EXPECT_EQ(0, lseek(again, 0, SEEK_CUR));
	EXPECT_EQ(100, read(again, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	EXPECT_EQ(10, put_at(again, 100, 10, 1));
	EXPECT_EQ(110, right_at(self->device, 0, 110, 1));
	ASSERT_EQ(0, ioctl(again, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(3, info.readers);
	EXPECT_EQ(3, info.writers);
	EXPECT_EQ(0, close(self->device));
	EXPECT_EQ(0, close(self->file));
	EXPECT_EQ(110, right_at(again, 0, 110, 1));
	EXPECT_EQ(0, close(again));
}

TEST_F(handle, reopened_has_the_flags_of_the_open)
{
	const int flags[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_NONBLOCK, O_RDWR | O_SYNC,
		O_RDWR | O_DIRECT, O_RDONLY | O_NOATIME,
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		int fd = reopen(self->file, flags[i]);

		ASSERT_LE(0, fd) TH_LOG("flags %#o: %m", flags[i]);
		EXPECT_EQ(flags[i], fcntl(fd, F_GETFL) & (flags[i] | O_ACCMODE));
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_EQ(ENOTDIR, ERRNO_OF(reopen(self->file, O_RDONLY | O_DIRECTORY)));
}

TEST_F(handle, reopened_with_o_trunc_is_empty)
{
	int fd;

	ASSERT_EQ(NODE, put_at(self->file, 0, NODE, 1));
	fd = reopen(self->file, O_RDWR | O_TRUNC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, length_of(fd));
	EXPECT_EQ(0, length_of(self->device));
	EXPECT_EQ(1, put_at(fd, PAGE, 1, 2));
	EXPECT_EQ(PAGE, right_at(self->device, 0, PAGE, ZEROS));
	EXPECT_EQ(0, close(fd));
}

/* Who is handed a descriptor to read from can get nothing else out of it. */
TEST_F(handle, reopened_never_has_more_access)
{
	int reader = open_handle(self->device, O_RDONLY);
	int writer = open_handle(self->device, O_WRONLY);
	char path[64];

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	ASSERT_EQ(100, put_at(self->device, 0, 100, 1));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDWR)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_WRONLY)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDONLY | O_TRUNC)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDWR | O_TRUNC)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(writer, O_RDWR)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(writer, O_RDONLY)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	EXPECT_EQ(EACCES, ERRNO_OF(truncate(path, 0)));
	EXPECT_EQ(100, right_at(self->device, 0, 100, 1));
	EXPECT_EQ(0, close(reader));
	EXPECT_EQ(0, close(writer));
}

/* Nor by way of a handle that was itself reopened, with less access than there was. */
TEST_F(handle, reopened_and_reopened_again_never_has_more_access)
{
	int reader = reopen(self->file, O_RDONLY), again;
	char path[64];

	ASSERT_LE(0, reader);
	ASSERT_EQ(100, put_at(self->device, 0, 100, 1));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDWR)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_WRONLY)));
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDONLY | O_TRUNC)));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	EXPECT_EQ(EACCES, ERRNO_OF(truncate(path, 0)));
	again = reopen(reader, O_RDONLY);
	ASSERT_LE(0, again);
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(again, O_RDWR)));
	EXPECT_EQ(EACCES, ERRNO_OF(open_handle(again, O_WRONLY)));
	ASSERT_EQ(100, length_of(self->device));
	EXPECT_EQ(100, right_at(again, 0, 100, 1));
	EXPECT_EQ(0, close(again));
	EXPECT_EQ(0, close(reader));
}

/* A path that was opened for no access gives what the file behind it has, and no more. */
TEST_F(handle, reopened_by_o_path_never_has_more_access)
{
	int reader = open_handle(self->device, O_RDONLY), path, again;

	ASSERT_LE(0, reader);
	path = reopen(reader, O_PATH);
	ASSERT_LE(0, path);
	EXPECT_EQ(EACCES, ERRNO_OF(reopen(path, O_RDWR)));
	again = reopen(path, O_RDONLY);
	EXPECT_LE(0, again);
	EXPECT_EQ(0, close(again));
	EXPECT_EQ(0, close(path));
	EXPECT_EQ(0, close(reader));
}

/* Nobody else has a right to the stream but by its descriptors: that of a user does not count. */
TEST_F(handle, reopened_by_another_user_has_what_the_descriptor_has)
{
	int reader = open_handle(self->device, O_RDONLY);
	pid_t child;

	ASSERT_LE(0, reader);
	ASSERT_EQ(100, put_at(self->device, 0, 100, 1));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		int again;

		if (setgid(65534) || setuid(65534) || prctl(PR_SET_DUMPABLE, 1))
			_exit(100);
		again = reopen(reader, O_RDONLY);
		EXPECT_LE(0, again);
		EXPECT_EQ(EACCES, ERRNO_OF(reopen(reader, O_RDWR)));
		EXPECT_EQ(EACCES, ERRNO_OF(reopen(again, O_WRONLY)));
		EXPECT_EQ(EACCES, ERRNO_OF(reopen(again, O_RDONLY | O_TRUNC)));
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(100, right_at(self->device, 0, 100, 1));
	close(reader);
}

TEST_F(handle, reopened_while_others_close)
{
	long long end = now_ms() + RACE_MS;
	pid_t child = fork_child();
	char path[64];

	/* The child has the stream as long as it is being opened from outside. */
	ASSERT_LE(0, child);
	if (child == 0) {
		for (;;) {
			int fd = dup2(self->file, 100);

			close(fd);
		}
	}
	snprintf(path, sizeof(path), "/proc/%d/fd/100", child);
	while (now_ms() < end) {
		int fd = open(path, O_RDWR);

		if (fd < 0) {
			ASSERT_EQ(ENOENT, errno);
			continue;
		}
		ASSERT_EQ(1, put_at(fd, 5, 1, 1));
		ASSERT_EQ(0, close(fd));
	}
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
}

/* ---- the regular file's own ---- */

TEST_F(handle, of_one_stream_have_one_inode)
{
	int other = open_handle(self->device, O_RDONLY), again = reopen(self->file, O_RDONLY);
	int stranger = open_file(O_RDWR), clone = open_clone(self->file, O_RDWR);
	struct stat st, other_st;

	ASSERT_LE(0, other);
	ASSERT_LE(0, again);
	ASSERT_LE(0, stranger);
	ASSERT_LE(0, clone);
	ASSERT_EQ(0, fstat(self->file, &st));
	ASSERT_EQ(0, fstat(other, &other_st));
	EXPECT_EQ(st.st_ino, other_st.st_ino);
	EXPECT_EQ(st.st_dev, other_st.st_dev);
	ASSERT_EQ(0, fstat(again, &other_st));
	EXPECT_EQ(st.st_ino, other_st.st_ino);
	ASSERT_EQ(0, fstat(stranger, &other_st));
	EXPECT_NE(st.st_ino, other_st.st_ino);
	EXPECT_EQ(st.st_dev, other_st.st_dev);
	ASSERT_EQ(0, fstat(clone, &other_st));
	EXPECT_NE(st.st_ino, other_st.st_ino);
	close(other);
	close(again);
	close(stranger);
	close(clone);
}

TEST_F(handle, fstat_tells_length_and_memory)
{
	const long long lens[] = { 0, 1, PAGE, PAGE + 1, NODE, 3 * MiB + 5, TiB, OFFSET_MAX };
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		if (lens[i]) {
			ASSERT_EQ(1, put_at(self->device, lens[i] - 1, 1, 1));
		}
		ASSERT_EQ(0, fstat(self->file, &st));
		EXPECT_EQ(lens[i], st.st_size);
		EXPECT_LE((long long)i * PAGE / 512 - PAGE / 512, st.st_blocks);
		EXPECT_GE((long long)i * PAGE / 512, st.st_blocks);
	}
}

struct appender {
	int fd;
	int who;
	int lines;
	int failed;
};

static void *append_lines(void *arg)
{
	struct appender *appender = arg;
	char line[64];

	pin_to(appender->who);
	for (int i = 0; i < appender->lines; i++) {
		/* Some lines longer than others. */
		int len = snprintf(line, sizeof(line), "%d %0*d\n", appender->who, 5 + i % 40, i);

		appender->failed |= write(appender->fd, line, len) != len;
	}
	return NULL;
}

/* Each through a handle of its own: no position is shared, no line is lost. */
TEST_F(handle, appenders_lose_nothing)
{
	struct appender appenders[4];
	pthread_t threads[4];
	const int lines = clock_is_coarse() ? 600 : 3000;
	int next[4] = {};
	FILE *file;

	for (int i = 0; i < 4; i++) {
		appenders[i].who = i;
		appenders[i].lines = lines;
		appenders[i].failed = 0;
		appenders[i].fd = open_handle(self->device, O_WRONLY | O_APPEND);
		ASSERT_LE(0, appenders[i].fd);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, append_lines, &appenders[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, appenders[i].failed);
		EXPECT_EQ(0, close(appenders[i].fd));
	}
	/* The other writer, so that the end is the end. */
	EXPECT_EQ(0, close(self->device));
	file = fdopen(self->file, "r");
	ASSERT_NE(NULL, file);
	for (int i = 0; i < 4 * lines; i++) {
		int who, number;

		ASSERT_EQ(2, fscanf(file, "%d %d\n", &who, &number));
		ASSERT_EQ(next[who], number);
		next[who]++;
	}
	EXPECT_EQ(EOF, fgetc(file));
	fclose(file);
}

TEST_HARNESS_MAIN
