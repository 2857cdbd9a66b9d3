// SPDX-License-Identifier: GPL-2.0
/*
 * Promises that are easy to break where two of them meet: draining and what is
 * given back, sealing and a write in progress, waiting and a signal, the rate
 * and who does not ask for it.
 */
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "harness.h"

FIXTURE(subtle)
{
	int fd, reader;
};

FIXTURE_SETUP(subtle)
{
	self->fd = open_device(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->reader = open_handle(self->fd, O_RDONLY);
	ASSERT_LE(0, self->reader);
}

FIXTURE_TEARDOWN(subtle)
{
	close(self->reader);
	close(self->fd);
}

/* sendfile lends more than a full socket takes, and moves the position back. */
TEST_F(subtle, what_sendfile_gives_back_is_not_drained)
{
	int sockets[2];
	char bytes[100];
	ssize_t sent;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(4 * MiB, put_at(self->fd, 0, 4 * MiB, 1));
	sent = sendfile(sockets[0], self->reader, NULL, 4 * MiB);
	ASSERT_LT(0, sent);
	ASSERT_GT(4 * MiB, sent);
	EXPECT_EQ(sent, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_GE(sent, drained_of(self->fd));
	ASSERT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, sent, 1));
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(subtle, looking_for_the_end_drains_nothing)
{
	char bytes[100];

	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	EXPECT_EQ(MiB, lseek(self->reader, 0, SEEK_END));
	EXPECT_EQ(0, polled(self->reader, POLLIN));
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_SET));
	EXPECT_EQ(100, pread(self->reader, bytes, 100, MiB / 2));
	EXPECT_EQ(0, drained_of(self->fd));
	ASSERT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	/* Reading there is another matter. */
	EXPECT_EQ(MiB / 2, lseek(self->reader, MiB / 2, SEEK_SET));
	EXPECT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(MiB / 2 + 100, drained_of(self->fd));
	EXPECT_EQ(ENXIO, ERRNO_OF(pread(self->reader, bytes, 100, 0)));
}

TEST_F(subtle, what_is_drained_is_not_cloned_as_zeros)
{
	int file = open_handle(self->fd, O_RDWR), other = open_file(O_RDWR);
	char bytes[PAGE];

	ASSERT_LE(0, file);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	ASSERT_EQ(PAGE, read(self->reader, bytes, PAGE));
	EXPECT_EQ(ENXIO, ERRNO_OF(ioctl(other, _IOW(0x94, 9, int), file)));
	EXPECT_EQ(0, length_of(other));
	close(file);
	close(other);
}

struct writing {
	int fd;
	ssize_t done;
};

static void *write_much(void *arg)
{
	struct writing *writing = arg;
	char *memory = fresh_memory(128 * MiB);

	memset(memory, 1, 128 * MiB);
	writing->done = pwrite(writing->fd, memory, 128 * MiB, 0);
	munmap(memory, 128 * MiB);
	return NULL;
}

/* The end that a reader is told is the end: no write that was begun before goes on. */
TEST_F(subtle, nothing_is_written_after_sealing_returns)
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

static void *signal_then_put(void *arg)
{
	struct writing *writing = arg;

	sleep_ms(200);
	kill(getpid(), SIGALRM);
	sleep_ms(200);
	writing->done = put_at(writing->fd, 0, 8, 1);
	return NULL;
}

/* A call that is restarted after a signal asks for what it asked for at first. */
TEST_F(subtle, a_restarted_get_gets_all)
{
	char bytes[8] = "";
	struct qemufile_record record = {
		.type = QEMUFILE_BUFFER, .value = (uintptr_t)bytes, .length = 8,
	};
	struct qemufile_vector vector = { .records = (uintptr_t)&record, .count = 1 };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct writing writing = { .fd = self->fd };
	sigset_t alarm_only;
	pthread_t thread;

	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	/* The signal is for this thread. */
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &alarm_only, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_then_put, &writing));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL));
	EXPECT_EQ(0, ioctl(self->reader, QEMUFILE_IOC_GET, &vector));
	EXPECT_EQ(1, vector.done);
	EXPECT_EQ(8, record.length);
	EXPECT_EQ(8, right(bytes, 8, 0, 1));
	pthread_join(thread, NULL);
}

TEST_F(subtle, zeroing_an_append_only_stream_changes_nothing)
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

TEST_F(subtle, an_atomic_write_above_the_limit_does_not_wait)
{
	char bytes[2 * PAGE] = "";
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };

	ASSERT_EQ(0, set_limit(self->fd, PAGE));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(0, length_of(self->fd));
}

TEST_F(subtle, spliced_pages_count_against_the_rate)
{
	int from = open_device(O_RDWR), pipe_fds[2];
	struct qemufile_rate rate = { .op = QEMUFILE_RATE_GET };
	loff_t pos = 0;
	long long end;

	ASSERT_LE(0, from);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(8 * PAGE, put_at(from, 0, 8 * PAGE, 1));
	ASSERT_EQ(8 * PAGE, splice(from, &pos, pipe_fds[1], NULL, 8 * PAGE, 0));
	/* A bucket of one page at first, then ten a second. */
	ASSERT_EQ(0, set_rate(self->fd, 10 * PAGE, QEMUFILE_RATE_KEEP));
	end = now_ms() + 400;
	while (pos > 0) {
		ssize_t moved = splice(pipe_fds[0], NULL, self->fd, NULL, pos, SPLICE_F_MOVE);

		ASSERT_LT(0, moved);
		pos -= moved;
	}
	EXPECT_LE(end, now_ms());
	EXPECT_EQ(8 * PAGE, right_at(self->fd, 0, 8 * PAGE, 1));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate));
	EXPECT_EQ(8 * PAGE, rate.xfer);
	close(from);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* Edge-triggered: the edge comes with the tokens, though nobody polls meanwhile. */
TEST_F(subtle, a_paced_writer_gets_its_edge)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	char bytes[PAGE] = "";

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, set_rate(self->fd, 10 * PAGE, QEMUFILE_RATE_KEEP));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	ASSERT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	while (write(self->fd, bytes, PAGE) > 0)
		;
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 5000));
	EXPECT_LT(0, write(self->fd, bytes, PAGE));
	close(epoll);
}

/* The last reference to an inode may be a watch's, when no file keeps the mount. */
TEST_F(subtle, a_watch_may_be_the_last_to_know_the_file)
{
	for (int round = 0; round < 200; round++) {
		int watcher = inotify_init1(IN_CLOEXEC), file = open_file(O_RDWR), watch;
		char path[64];

		ASSERT_LE(0, watcher);
		ASSERT_LE(0, file);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
		watch = inotify_add_watch(watcher, path, IN_MODIFY);
		ASSERT_LE(0, watch);
		if (round % 2)
			inotify_rm_watch(watcher, watch);
		ASSERT_EQ(0, close(file));
		ASSERT_EQ(0, close(watcher));
	}
}

TEST_HARNESS_MAIN
