// SPDX-License-Identifier: GPL-2.0
/*
 * fsync(2), fdatasync(2), close(2), and the error that stays: what has cost the
 * stream bytes is reported once by fsync, and by each close.
 */
#include "harness.h"

STREAM_FIXTURE(sync)

/* A write whose second vector cannot be read: the first is written. */
static ssize_t write_half(int fd)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};

	return writev(fd, iov, 2);
}

TEST_F(sync, nothing_to_report_on_a_clean_stream)
{
	const int modes[] = {
		O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_SYNC, O_RDWR | O_DSYNC,
	};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		int fd = variant->open(modes[i]);

		ASSERT_LE(0, fd);
		EXPECT_EQ(0, fsync(fd));
		EXPECT_EQ(0, fdatasync(fd));
		if (modes[i] != O_RDONLY) {
			EXPECT_EQ(100, put_at(fd, 0, 100, 1));
			EXPECT_EQ(0, fsync(fd));
			EXPECT_EQ(0, fdatasync(fd));
		}
		EXPECT_EQ(0, close(fd));
	}
	EXPECT_EQ(0, syncfs(self->fd));
}

TEST_F(sync, fsync_reports_a_fault_in_mid_vector_once)
{
	ASSERT_EQ(4, write_half(self->fd));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, fdatasync(self->fd));
}

TEST_F(sync, fdatasync_reports_it_as_well)
{
	ASSERT_EQ(4, write_half(self->fd));
	EXPECT_EQ(EFAULT, ERRNO_OF(fdatasync(self->fd)));
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(sync, each_close_reports_what_is_latched)
{
	int fd = variant->open(O_RDWR), dup_fd;

	ASSERT_LE(0, fd);
	dup_fd = dup(fd);
	ASSERT_LE(0, dup_fd);
	ASSERT_EQ(4, write_half(fd));
	EXPECT_EQ(EFAULT, ERRNO_OF(close(dup_fd)));
	EXPECT_EQ(EBADF, ERRNO_OF(fcntl(dup_fd, F_GETFD)));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(fd)));
	EXPECT_EQ(EFAULT, ERRNO_OF(close(fd)));
	EXPECT_EQ(EBADF, ERRNO_OF(close(fd)));
}

TEST_F(sync, a_childs_close_reports_as_well)
{
	pid_t child;

	ASSERT_EQ(4, write_half(self->fd));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(ERRNO_OF(close(self->fd)));
	EXPECT_EQ(EFAULT, status_of(child));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(self->fd)));
}

TEST_F(sync, no_room_below_the_largest_offset_is_latched)
{
	char bytes[20] = {};
	int fd = variant->open(O_RDWR | O_APPEND);

	/* With nothing written. */
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, put_at(self->fd, OFFSET_MAX - 1, 1, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(EFBIG, ERRNO_OF(write(self->fd, bytes, 1)));
	EXPECT_EQ(EFBIG, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(0, fsync(self->fd));

	/* With a part. */
	EXPECT_EQ(OFFSET_MAX - 10, lseek(fd, OFFSET_MAX - 10, SEEK_SET));
	ASSERT_EQ(0, fcntl(fd, F_SETFL, 0));
	ASSERT_EQ(1, write(fd, "x", 1));
	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_APPEND));
	ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(9, write(fd, bytes, 20));
	EXPECT_EQ(EFBIG, ERRNO_OF(fsync(fd)));
	EXPECT_EQ(EFBIG, ERRNO_OF(close(fd)));
}

TEST_F(sync, no_room_below_rlimit_fsize_is_latched)
{
	struct rlimit limit = { .rlim_cur = 1000, .rlim_max = RLIM_INFINITY };
	int fd = variant->open(O_RDWR);
	char bytes[100] = {};

	ASSERT_LE(0, fd);
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	EXPECT_EQ(EFBIG, ERRNO_OF(pwrite(self->fd, bytes, 100, 1000)));
	EXPECT_EQ(EFBIG, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(50, pwrite(fd, bytes, 100, 950));
	EXPECT_EQ(EFBIG, ERRNO_OF(fsync(fd)));
	EXPECT_EQ(EFBIG, ERRNO_OF(close(fd)));
}

/* A call that was wrong from the start has cost the stream nothing. */
TEST_F(sync, a_wrong_call_is_not_latched)
{
	struct iovec iov[2] = {
		{ .iov_base = nowhere(), .iov_len = 4 },
		{ .iov_base = "half", .iov_len = 4 },
	};
	int fd = variant->open(O_RDWR);
	int reader = variant->open(O_RDONLY);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, reader);
	EXPECT_EQ(EFAULT, ERRNO_OF(write(fd, nowhere(), 10)));
	EXPECT_EQ(EFAULT, ERRNO_OF(writev(fd, iov, 2)));
	EXPECT_EQ(EFAULT, ERRNO_OF(writev(fd, nowhere(), 2)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(fd, "x", 1, -1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(fd, "xxx", 3, OFFSET_MAX - 1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(syscall(SYS_writev, fd, iov, IOV_MAX + 1L)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(pwritev2(fd, iov + 1, 1, 0, 1 << 30)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(fd, -1, SEEK_SET)));
	EXPECT_EQ(ENXIO, ERRNO_OF(lseek(fd, 0, SEEK_DATA)));
	EXPECT_EQ(0, length_of(fd));
	EXPECT_EQ(0, polled(fd, 0));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, close(fd));

	EXPECT_EQ(EBADF, ERRNO_OF(write(reader, "x", 1)));
	EXPECT_EQ(0, fsync(reader));
	EXPECT_EQ(0, close(reader));
}

/* Nor does a read cost it anything. */
TEST_F(sync, a_read_that_faults_is_not_latched)
{
	char byte;
	struct iovec iov[2] = {
		{ .iov_base = &byte, .iov_len = 1 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};
	int fd = variant->open(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(100, put_at(fd, 0, 100, 1));
	EXPECT_EQ(EFAULT, ERRNO_OF(read(fd, nowhere(), 10)));
	EXPECT_EQ(1, readv(fd, iov, 2));
	EXPECT_EQ(0, polled(fd, 0));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, close(fd));
}

TEST_F(sync, the_first_error_stays)
{
	struct rlimit limit = { .rlim_cur = 1000, .rlim_max = RLIM_INFINITY };
	int fd = variant->open(O_RDWR);

	ASSERT_LE(0, fd);
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	ASSERT_EQ(4, write_half(fd));
	EXPECT_EQ(EFBIG, ERRNO_OF(pwrite(fd, "x", 1, 1000)));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(fd)));
	EXPECT_EQ(EFAULT, ERRNO_OF(close(fd)));
}

TEST_F(sync, reads_and_writes_go_on_after_an_error)
{
	char bytes[100];

	ASSERT_EQ(4, write_half(self->fd));
	EXPECT_EQ(4, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(100, write(self->fd, fill(bytes, 100, 4, 1), 100));
	EXPECT_EQ(104, length_of(self->fd));
	EXPECT_EQ(4, lseek(self->fd, 4, SEEK_SET));
	EXPECT_EQ(100, read(self->fd, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 4, 1));
	EXPECT_EQ(100, put_at(self->fd, MiB, 100, 1));
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(self->fd)));
}

TEST_F(sync, an_error_is_its_own_streams)
{
	int fd = variant->open(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(4, write_half(fd));
	EXPECT_EQ(0, polled(self->fd, 0));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(EFAULT, ERRNO_OF(close(fd)));
	EXPECT_EQ(0, fsync(self->fd));
}

struct sync_race {
	int fd;
	pthread_barrier_t *start;
	int reports;
};

static void *sync_often(void *arg)
{
	struct sync_race *race = arg;

	pthread_barrier_wait(race->start);
	for (int i = 0; i < 10; i++)
		race->reports += ERRNO_OF(fsync(race->fd)) == EFAULT;
	return NULL;
}

/* Four threads ask at once: one of them is told. */
TEST_F(sync, only_one_of_many_is_told)
{
	for (int round = 0; round < 20; round++) {
		int fd = variant->open(O_RDWR);
		struct sync_race races[4];
		pthread_barrier_t start;
		pthread_t threads[4];
		int reports = 0;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, pthread_barrier_init(&start, NULL, 4));
		ASSERT_EQ(4, write_half(fd));
		for (int i = 0; i < 4; i++) {
			races[i] = (struct sync_race){ .fd = fd, .start = &start };
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, sync_often, &races[i]));
		}
		for (int i = 0; i < 4; i++) {
			pthread_join(threads[i], NULL);
			reports += races[i].reports;
		}
		EXPECT_EQ(1, reports);
		EXPECT_EQ(EFAULT, ERRNO_OF(close(fd)));
	}
}

struct clear_race {
	int fd;
	atomic_int round;
	atomic_int done;
	atomic_int over;
};

static void *clear_in_turns(void *arg)
{
	struct clear_race *race = arg;

	pin_to(1);
	for (int round = 1;; round++) {
		while (race->round < round)
			if (race->over)
				return NULL;
		for (int i = 0; i < 4; i++)
			set_error(race->fd, 0);
		race->done = round;
	}
}

/* One thread latches an error, another one clears it. */
TEST_F(sync, what_is_told_is_what_is_latched)
{
	struct clear_race race = { .fd = self->fd };
	long long end = now_ms() + 2 * RACE_MS;
	struct qemufile_error error;
	pthread_t thread;
	int wrong = 0;

	ASSERT_EQ(0, pthread_create(&thread, NULL, clear_in_turns, &race));
	pin_to(0);
	for (int round = 1; now_ms() < end; round++) {
		race.round = round;
		for (int i = 0; i < 4; i++)
			set_error(self->fd, -EIO);
		while (race.done < round)
			;
		ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_ERROR, &error));
		wrong += ERRNO_OF(fsync(self->fd)) != -error.error;
		ASSERT_EQ(0, set_error(self->fd, 0));
	}
	race.over = 1;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong);
}

TEST_HARNESS_MAIN
