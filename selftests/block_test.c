// SPDX-License-Identifier: GPL-2.0
/*
 * A stream with a reader and a writer, which are different handles: the reader
 * waits at the end as long as there is somebody who could write on.
 */
#include "harness.h"

FIXTURE(block) {
	int reader;
	int writer;
};

FIXTURE_VARIANT(block) {
	/* Which of the two is the device, if any. */
	int device;
};

FIXTURE_VARIANT_ADD(block, files) {
	.device = -1,
};

FIXTURE_VARIANT_ADD(block, device_writes) {
	.device = O_WRONLY,
};

/* The device may write as well, and so reads without an end of its own. */
FIXTURE_VARIANT_ADD(block, device_reads) {
	.device = O_RDONLY,
};

FIXTURE_SETUP(block)
{
	int device = open_device(O_RDWR);

	ASSERT_LE(0, device);
	self->reader = open_handle(device, O_RDONLY);
	self->writer = open_handle(device, O_WRONLY);
	if (variant->device == O_WRONLY) {
		close(self->writer);
		self->writer = device;
	} else if (variant->device == O_RDONLY) {
		close(self->reader);
		self->reader = device;
	} else {
		close(device);
	}
	ASSERT_LE(0, self->reader);
	ASSERT_LE(0, self->writer);
}

FIXTURE_TEARDOWN(block)
{
	close(self->reader);
	close(self->writer);
}

/* Whether the reader is over when @writer is closed: it does not itself write. */
#define READER_ONLY (variant->device != O_RDONLY)

TEST_F(block, a_read_at_the_end_waits_for_data)
{
	struct pending_read call;

	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	EXPECT_EQ(30, put_at(self->writer, 0, 30, 1));
	EXPECT_EQ(30, read_result(&call, 5000));
	EXPECT_EQ(30, right(call.bytes, 30, 0, 1));
	EXPECT_EQ(30, lseek(self->reader, 0, SEEK_CUR));
}

TEST_F(block, a_pread_at_the_end_waits_for_data)
{
	struct pending_read call;

	ASSERT_EQ(1000, put_at(self->writer, 0, 1000, 1));
	ASSERT_TRUE(read_waits(&call, self->reader, 100, 1000));
	EXPECT_EQ(30, put_at(self->writer, 1000, 30, 1));
	EXPECT_EQ(30, read_result(&call, 5000));
	EXPECT_EQ(30, right(call.bytes, 30, 1000, 1));
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_CUR));
}

TEST_F(block, a_read_takes_what_there_is)
{
	unsigned char bytes[200];

	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	EXPECT_EQ(100, read(self->reader, bytes, 200));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	EXPECT_EQ(50, pread(self->reader, bytes, 200, 50));
}

TEST_F(block, a_read_of_nothing_does_not_wait)
{
	EXPECT_EQ(0, read(self->reader, NULL, 0));
	EXPECT_EQ(0, pread(self->reader, NULL, 0, 100));
}

TEST_F(block, a_read_past_the_end_waits_until_the_stream_gets_there)
{
	struct pending_read call;

	ASSERT_TRUE(read_waits(&call, self->reader, 100, 5000));
	EXPECT_EQ(5000, put_at(self->writer, 0, 5000, 1));
	sleep_ms(20);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(1, put_at(self->writer, 5000, 1, 1));
	EXPECT_EQ(1, read_result(&call, 5000));
	EXPECT_EQ(1, right(call.bytes, 1, 5000, 1));
}

/* Bytes written over, or further on, make a difference only to who can read them. */
TEST_F(block, a_read_waits_on_when_something_else_is_written)
{
	struct pending_read call;

	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	ASSERT_TRUE(read_waits(&call, self->reader, 100, 100));
	EXPECT_EQ(100, put_at(self->writer, 0, 100, 2));
	sleep_ms(20);
	EXPECT_EQ(0, call.done);
	/* A hole is data to a reader. */
	EXPECT_EQ(1, put_at(self->writer, 300, 1, 1));
	EXPECT_EQ(100, read_result(&call, 5000));
	EXPECT_EQ(100, right(call.bytes, 100, 0, ZEROS));
}

TEST_F(block, the_last_writers_close_is_the_end)
{
	int second = open_handle(self->writer, O_WRONLY), dup_fd = dup(second);
	struct pending_read call;
	char byte;

	ASSERT_LE(0, second);
	ASSERT_LE(0, dup_fd);
	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	EXPECT_EQ(0, close(self->writer));
	sleep_ms(20);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(0, close(second));
	sleep_ms(20);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(0, close(dup_fd));
	EXPECT_EQ(0, read_result(&call, 5000));
	EXPECT_EQ(0, read(self->reader, &byte, 1));
}

TEST_F(block, a_read_goes_on_when_its_descriptor_is_closed)
{
	struct pending_read call;
	struct qemufile_info before, info;

	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_GET_INFO, &before));
	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	EXPECT_EQ(0, close(self->reader));
	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(before.readers, info.readers);
	EXPECT_EQ(30, put_at(self->writer, 0, 30, 1));
	EXPECT_EQ(30, read_result(&call, 5000));
	EXPECT_EQ(30, right(call.bytes, 30, 0, 1));
	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(before.readers - 1, info.readers);
}

TEST_F(block, what_was_written_before_the_close_is_read_first)
{
	unsigned char bytes[200];

	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	EXPECT_EQ(0, close(self->writer));
	EXPECT_EQ(70, read(self->reader, bytes, 70));
	EXPECT_EQ(30, read(self->reader, bytes + 70, 200));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	EXPECT_EQ(0, read(self->reader, bytes, 200));
}

TEST_F(block, a_writer_that_is_killed_is_the_end)
{
	struct pending_read call;
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0)
		for (;;)
			pause();
	ASSERT_EQ(0, close(self->writer));
	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1)) {
		kill(child, SIGKILL);
	}
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(128 + SIGKILL, status_of(child));
	EXPECT_EQ(0, read_result(&call, 5000));
}

/* A handle that reads and writes does not wait for itself, but does for others. */
TEST_F(block, a_handles_own_right_to_write_does_not_count)
{
	int device = open_device(O_RDWR), both;
	struct pending_read call;
	char byte;

	ASSERT_LE(0, device);
	both = open_handle(device, O_RDWR);
	ASSERT_LE(0, both);
	EXPECT_EQ(0, close(device));
	EXPECT_EQ(0, read(both, &byte, 1));
	device = open_handle(both, O_WRONLY);
	ASSERT_LE(0, device);
	ASSERT_TRUE(read_waits(&call, both, 10, -1));
	EXPECT_EQ(0, close(device));
	EXPECT_EQ(0, read_result(&call, 5000));
	EXPECT_EQ(0, close(both));
}

TEST_F(block, two_that_read_and_write_wait_for_each_other)
{
	int device = open_device(O_RDWR), other;
	struct pending_read call;

	ASSERT_LE(0, device);
	other = open_handle(device, O_RDWR);
	ASSERT_LE(0, other);
	ASSERT_TRUE(read_waits(&call, device, 10, -1));
	EXPECT_EQ(10, put_at(other, 0, 10, 1));
	EXPECT_EQ(10, read_result(&call, 5000));
	ASSERT_TRUE(read_waits(&call, other, 10, 10));
	EXPECT_EQ(0, close(device));
	EXPECT_EQ(0, read_result(&call, 5000));
	EXPECT_EQ(0, close(other));
}

TEST_F(block, o_nonblock_is_eagain)
{
	unsigned char bytes[100];

	ASSERT_EQ(0, fcntl(self->reader, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(EAGAIN, ERRNO_OF(read(self->reader, bytes, 100)));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pread(self->reader, bytes, 100, 1000)));
	EXPECT_EQ(0, read(self->reader, bytes, 0));
	ASSERT_EQ(30, put_at(self->writer, 0, 30, 1));
	EXPECT_EQ(30, read(self->reader, bytes, 100));
	EXPECT_EQ(EAGAIN, ERRNO_OF(read(self->reader, bytes, 100)));
	EXPECT_EQ(30, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_EQ(0, fsync(self->reader));
	EXPECT_EQ(0, close(self->writer));
	EXPECT_EQ(0, read(self->reader, bytes, 100));
}

TEST_F(block, rwf_nowait_is_eagain)
{
	unsigned char bytes[100];
	struct iovec iov = { .iov_base = bytes, .iov_len = 100 };

	EXPECT_EQ(EAGAIN, ERRNO_OF(preadv2(self->reader, &iov, 1, -1, RWF_NOWAIT)));
	EXPECT_EQ(EAGAIN, ERRNO_OF(preadv2(self->reader, &iov, 1, 50, RWF_NOWAIT)));
	ASSERT_EQ(30, put_at(self->writer, 0, 30, 1));
	EXPECT_EQ(30, preadv2(self->reader, &iov, 1, 0, RWF_NOWAIT));
	EXPECT_EQ(EAGAIN, ERRNO_OF(preadv2(self->reader, &iov, 1, 30, RWF_NOWAIT)));
	EXPECT_EQ(0, close(self->writer));
	EXPECT_EQ(0, preadv2(self->reader, &iov, 1, 30, RWF_NOWAIT));
}

/* ---- signals ---- */

static void handle_signals(int flags)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = flags };

	signals = 0;
	sigaction(SIGUSR1, &action, NULL);
}

TEST_F(block, a_signal_interrupts_a_read)
{
	struct pending_read call;

	handle_signals(0);
	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
	EXPECT_EQ(-1, read_result(&call, 5000));
	EXPECT_EQ(EINTR, call.error);
	EXPECT_EQ(1, signals);
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_CUR));
	/* Nothing is latched. */
	EXPECT_EQ(0, polled(self->reader, 0));
	EXPECT_EQ(0, fsync(self->reader));
	/* And nothing is lost. */
	EXPECT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(10, right_at(self->reader, 0, 10, 1));
}

TEST_F(block, a_read_is_restarted_after_a_signal_with_sa_restart)
{
	struct pending_read call;

	handle_signals(SA_RESTART);
	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
		for (int j = 0; j < 1000 && signals <= i; j++)
			sleep_ms(1);
		ASSERT_EQ(i + 1, signals);
		ASSERT_TRUE(sleeps_in(call.tid, SYS_read));
	}
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(10, read_result(&call, 5000));
	EXPECT_EQ(10, right(call.bytes, 10, 0, 1));
}

TEST_F(block, a_reader_can_be_stopped_and_continued)
{
	pid_t child = fork_child();
	char bytes[10];

	ASSERT_LE(0, child);
	if (child == 0) {
		close(self->writer);
		_exit(read(self->reader, bytes, 10) != 10);
	}
	ASSERT_TRUE(sleeps_in(child, SYS_read));
	ASSERT_EQ(0, kill(child, SIGSTOP));
	ASSERT_EQ(child, waitpid(child, NULL, WUNTRACED));
	ASSERT_EQ(0, kill(child, SIGCONT));
	ASSERT_TRUE(sleeps_in(child, SYS_read));
	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(0, status_of(child));
}

TEST_F(block, a_reader_can_be_killed)
{
	pid_t child = fork_child();
	char byte;

	ASSERT_LE(0, child);
	if (child == 0)
		_exit(read(self->reader, &byte, 1));
	ASSERT_TRUE(sleeps_in(child, SYS_read));
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
	EXPECT_EQ(10, put_at(self->writer, 0, 10, 1));
}

static void *read_one(void *arg)
{
	char byte;

	read(*(int *)arg, &byte, 1);
	return NULL;
}

/* One of them waits for data, the others for the position: all of them can be killed. */
TEST_F(block, threads_that_share_a_position_can_be_killed)
{
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0) {
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, read_one, &self->reader);
		read_one(&self->reader);
		_exit(0);
	}
	sleep_ms(100);
	ASSERT_EQ(0, waitpid(child, NULL, WNOHANG));
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
}

/* ---- what else wakes ---- */

TEST_F(block, a_longer_length_wakes_a_reader)
{
	struct qemufile_length length = { .length = 20 };
	struct pending_read call;

	ASSERT_TRUE(read_waits(&call, self->reader, 100, -1));
	EXPECT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_LENGTH, &length));
	EXPECT_EQ(20, read_result(&call, 5000));
	EXPECT_EQ(20, right(call.bytes, 20, 0, ZEROS));
}

TEST_F(block, sealing_is_the_end)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	struct pending_read call;
	char byte;

	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	ASSERT_TRUE(read_waits(&call, self->reader, 100, 10));
	EXPECT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(0, read_result(&call, 5000));
	EXPECT_EQ(10, right_at(self->reader, 0, 10, 1));
	EXPECT_EQ(0, pread(self->reader, &byte, 1, 10));
	EXPECT_EQ(EPERM, ERRNO_OF(write(self->writer, "x", 1)));
	EXPECT_EQ(EPERM, ERRNO_OF(pwrite(self->writer, "x", 1, 0)));
	EXPECT_EQ(10, right_at(self->reader, 0, 10, 1));
	/* It was the call that was wrong. */
	EXPECT_EQ(0, fsync(self->writer));
}

/* The position of a file that another thread reads from is locked, as read(2) has it. */
TEST_F(block, every_reader_is_woken)
{
	enum { COUNT = 10 };
	static struct pending_read calls[COUNT];
	int fds[COUNT];

	for (int i = 0; i < COUNT; i++) {
		fds[i] = i % 2 ? open_handle(self->reader, O_RDONLY) : self->reader;
		ASSERT_LE(0, fds[i]);
		ASSERT_TRUE(read_waits(&calls[i], fds[i], 100, 0));
	}
	EXPECT_EQ(10, put_at(self->writer, 0, 10, 1));
	for (int i = 0; i < COUNT; i++) {
		EXPECT_EQ(10, read_result(&calls[i], 5000));
		EXPECT_EQ(10, right(calls[i].bytes, 10, 0, 1));
	}
}

/* ---- polling ---- */

TEST_F(block, poll_tells_whether_a_read_would_wait)
{
	short write_events = READER_ONLY ? 0 : POLL_WRITE;
	char bytes[100];

	EXPECT_EQ(write_events, polled(self->reader, POLL_ALL));
	EXPECT_EQ(POLL_WRITE, polled(self->writer, POLL_WRITE));
	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	EXPECT_EQ(POLL_READ | write_events, polled(self->reader, POLL_ALL));
	ASSERT_EQ(99, read(self->reader, bytes, 99));
	EXPECT_EQ(POLL_READ | write_events, polled(self->reader, POLL_ALL));
	ASSERT_EQ(1, read(self->reader, bytes, 99));
	EXPECT_EQ(write_events, polled(self->reader, POLL_ALL));
	ASSERT_EQ(0, lseek(self->reader, 0, SEEK_SET));
	EXPECT_EQ(POLL_READ | write_events, polled(self->reader, POLL_ALL));
	ASSERT_EQ(5000, lseek(self->reader, 5000, SEEK_SET));
	EXPECT_EQ(write_events, polled(self->reader, POLL_ALL));
}

TEST_F(block, poll_tells_that_the_writers_are_gone)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	ASSERT_EQ(0, close(self->writer));
	if (!READER_ONLY) {
		/* It may write itself, and so is not over. */
		ASSERT_EQ(100, read(self->reader, bytes, 100));
		EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->reader, POLL_ALL));
		return;
	}
	EXPECT_EQ(POLL_READ | POLLRDHUP, polled(self->reader, POLL_ALL));
	ASSERT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(POLL_READ | POLLHUP | POLLRDHUP, polled(self->reader, POLL_ALL));
	EXPECT_EQ(POLLHUP, polled(self->reader, 0));
	ASSERT_EQ(50, lseek(self->reader, 50, SEEK_SET));
	EXPECT_EQ(POLL_READ | POLLRDHUP, polled(self->reader, POLL_ALL));
	EXPECT_EQ(0, polled(self->reader, 0));
}

TEST_F(block, poll_tells_that_the_stream_is_sealed)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	short write_events = READER_ONLY ? 0 : POLL_WRITE;

	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(POLL_READ | POLLRDHUP | write_events, polled(self->reader, POLL_ALL));
	ASSERT_EQ(10, lseek(self->reader, 10, SEEK_SET));
	EXPECT_EQ(POLL_READ | POLLHUP | POLLRDHUP | write_events,
		  polled(self->reader, POLL_ALL));
	/* A write fails at once: it does not wait. */
	EXPECT_EQ(POLL_WRITE, polled(self->writer, POLL_WRITE));
}

struct pending_poll {
	int fd;
	short events;
	int result;
	atomic_int tid;
	atomic_int done;
	pthread_t thread;
};

static void *do_pending_poll(void *arg)
{
	struct pending_poll *call = arg;
	struct pollfd poll_fd = { .fd = call->fd, .events = call->events };

	call->tid = my_tid();
	call->result = poll(&poll_fd, 1, 10000) == 1 ? poll_fd.revents : -1;
	call->done = 1;
	return NULL;
}

static bool poll_waits(struct pending_poll *call, int fd, short events)
{
	*call = (struct pending_poll){ .fd = fd, .events = events };
	return !pthread_create(&call->thread, NULL, do_pending_poll, call) &&
	       is_set_within(&call->tid, 5000) && sleeps_in(call->tid, SYS_POLL) && !call->done;
}

static int poll_result(struct pending_poll *call)
{
	if (!is_set_within(&call->done, 5000))
		return -2;
	pthread_join(call->thread, NULL);
	return call->result;
}

TEST_F(block, poll_is_woken_by_a_write)
{
	struct pending_poll call;

	ASSERT_TRUE(poll_waits(&call, self->reader, POLLIN | POLLRDHUP));
	ASSERT_EQ(1, put_at(self->writer, 0, 1, 1));
	EXPECT_EQ(POLLIN, poll_result(&call));
}

TEST_F(block, poll_is_woken_by_the_last_writers_close)
{
	int second = open_handle(self->writer, O_WRONLY);
	struct pending_poll call;

	ASSERT_LE(0, second);
	ASSERT_TRUE(poll_waits(&call, self->reader, POLLIN | POLLRDHUP));
	EXPECT_EQ(0, close(self->writer));
	sleep_ms(20);
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(READER_ONLY ? POLLIN | POLLHUP | POLLRDHUP : POLLIN, poll_result(&call));
}

TEST_F(block, poll_is_woken_by_a_seek)
{
	struct pending_poll call;

	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	ASSERT_EQ(10, lseek(self->reader, 10, SEEK_SET));
	ASSERT_TRUE(poll_waits(&call, self->reader, POLLIN));
	ASSERT_EQ(9, lseek(self->reader, 9, SEEK_SET));
	EXPECT_EQ(POLLIN, poll_result(&call));
}

TEST_F(block, poll_is_woken_by_a_longer_length)
{
	struct qemufile_length length = { .length = 20 };
	struct pending_poll call;

	ASSERT_TRUE(poll_waits(&call, self->reader, POLLIN));
	EXPECT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_LENGTH, &length));
	EXPECT_EQ(POLLIN, poll_result(&call));
}

TEST_F(block, poll_is_woken_by_sealing)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	struct pending_poll call;

	ASSERT_TRUE(poll_waits(&call, self->reader, POLLIN));
	EXPECT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(POLLIN | POLLHUP, poll_result(&call));
}

TEST_F(block, edge_triggered_epoll_tells_the_reader_of_each_change)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET };
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	char bytes[100];

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->reader, &event));
	EXPECT_EQ(0, told(epfd, 0));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(10, put_at(self->writer, 10 * i, 10, 1));
		EXPECT_EQ(EPOLLIN, told(epfd, 1000));
		EXPECT_EQ(0, told(epfd, 0));
	}
	/* Reading is no change to be told of, and there is no edge in having read all. */
	EXPECT_EQ(30, read(self->reader, bytes, 100));
	EXPECT_EQ(0, told(epfd, 20));
	EXPECT_EQ(0, close(self->writer));
	if (READER_ONLY) {
		EXPECT_EQ(EPOLLIN | EPOLLHUP | EPOLLRDHUP, told(epfd, 1000));
	} else {
		EXPECT_EQ(EPOLLIN, told(epfd, 1000));
	}
	EXPECT_EQ(0, told(epfd, 20));
	close(epfd);
}

/* One that waits with EPOLLEXCLUSIVE is woken, and in turn the others. */
TEST_F(block, exclusive_waiters_are_not_forgotten)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	int epfds[3];

	for (int i = 0; i < 3; i++) {
		epfds[i] = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, epfds[i]);
		ASSERT_EQ(0, epoll_ctl(epfds[i], EPOLL_CTL_ADD, self->reader, &event));
		EXPECT_EQ(0, told(epfds[i], 0));
	}
	ASSERT_EQ(1, put_at(self->writer, 0, 1, 1));
	/* Level-triggered: whoever asks is told. */
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(EPOLLIN, told(epfds[i], 1000));
		close(epfds[i]);
	}
}

/* ---- much data ---- */

struct pump {
	int fd;
	long long len;
	unsigned int seed;
	long long done;
};

static void *write_much(void *arg)
{
	struct pump *pump = arg;
	char *bytes = fresh_memory(NODE);

	pin_to(0);
	while (pump->done < pump->len) {
		long long most = 1 + draw(&pump->seed, draw(&pump->seed, 4) ? 5000 : NODE);
		ssize_t put;

		most = most < pump->len - pump->done ? most : pump->len - pump->done;
		put = write(pump->fd, fill(bytes, most, pump->done, 1), most);
		if (put != most)
			break;
		pump->done += put;
	}
	close(pump->fd);
	return NULL;
}

static void *read_much(void *arg)
{
	struct pump *pump = arg;
	char *bytes = fresh_memory(NODE);

	pin_to(1);
	for (;;) {
		long long most = 1 + draw(&pump->seed, draw(&pump->seed, 4) ? 5000 : NODE);
		ssize_t got = read(pump->fd, bytes, most);

		if (got <= 0 || right(bytes, got, pump->done, 1) != got)
			break;
		pump->done += got;
	}
	return NULL;
}

/* Two readers with handles of their own get all of what one writer writes. */
TEST_F(block, readers_get_all_that_is_written_meanwhile)
{
	const long long len = 24 * MiB;
	struct pump writer = { .fd = self->writer, .len = len, .seed = 1 };
	struct pump readers[2] = {
		{ .fd = self->reader, .seed = 2 },
		{ .fd = open_handle(self->reader, O_RDONLY), .seed = 3 },
	};
	pthread_t threads[3];

	ASSERT_LE(0, readers[1].fd);
	if (!READER_ONLY) {
		/* The second must not wait for the first. */
		readers[0].fd = open_handle(self->reader, O_RDONLY);
		ASSERT_EQ(0, close(self->reader));
	}
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, read_much, &readers[0]));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, read_much, &readers[1]));
	ASSERT_EQ(0, pthread_create(&threads[2], NULL, write_much, &writer));
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
	}
	EXPECT_EQ(len, writer.done);
	EXPECT_EQ(len, readers[0].done);
	EXPECT_EQ(len, readers[1].done);
}

/* Byte by byte, back and forth: each waits for the other, and no wake-up is lost. */
TEST_F(block, no_wakeup_is_lost)
{
	long long end = now_ms() + RACE_MS;
	pid_t child;
	int back_reader, back_writer, device = open_device(O_RDWR);
	char byte = 0;

	ASSERT_LE(0, device);
	back_reader = open_handle(device, O_RDONLY);
	back_writer = open_handle(device, O_WRONLY);
	ASSERT_LE(0, back_reader);
	ASSERT_LE(0, back_writer);
	ASSERT_EQ(0, close(device));
	if (!READER_ONLY) {
		int fd = open_handle(self->reader, O_RDONLY);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, close(self->reader));
		self->reader = fd;
	}
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		pin_to(1);
		close(self->writer);
		close(back_reader);
		while (read(self->reader, &byte, 1) == 1)
			if (write(back_writer, &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	close(back_writer);
	pin_to(0);
	for (int i = 0; now_ms() < end; i++) {
		char sent = i, got;

		ASSERT_EQ(1, write(self->writer, &sent, 1));
		ASSERT_EQ(1, read(back_reader, &got, 1));
		ASSERT_EQ(sent, got);
	}
	ASSERT_EQ(0, close(self->writer));
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, read(back_reader, &byte, 1));
	close(back_reader);
}

TEST_HARNESS_MAIN
