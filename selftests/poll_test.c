// SPDX-License-Identifier: GPL-2.0
/* poll(2), select(2), epoll(7): when a read or a write would not wait. */
#include <sys/select.h>

#include "harness.h"

STREAM_FIXTURE(poll)

/* Makes the file latch an error: its second vector cannot be read. */
static void latch_error(struct __test_metadata *_metadata, int fd)
{
	struct iovec iov[2] = {
		{ .iov_base = "x", .iov_len = 1 },
		{ .iov_base = nowhere(), .iov_len = 1 },
	};

	ASSERT_EQ(1, writev(fd, iov, 2));
}

TEST_F(poll, a_private_stream_is_always_ready_for_both)
{
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->fd, POLL_ALL));
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->fd, POLL_ALL));
	ASSERT_EQ(100, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->fd, POLL_ALL));
	ASSERT_EQ(OFFSET_MAX, lseek(self->fd, OFFSET_MAX, SEEK_SET));
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->fd, POLL_ALL));
	/* Only what was asked for is told. */
	EXPECT_EQ(POLLIN, polled(self->fd, POLLIN));
	EXPECT_EQ(POLLWRNORM, polled(self->fd, POLLWRNORM));
	EXPECT_EQ(0, polled(self->fd, POLLPRI | POLLRDHUP));
	EXPECT_EQ(0, polled(self->fd, 0));
}

TEST_F(poll, a_private_reader_is_ready_and_not_hung_up)
{
	int fd = variant->open(O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(POLL_READ, polled(fd, POLL_ALL));
	EXPECT_EQ(0, close(fd));
}

TEST_F(poll, a_writer_is_ready_for_writing_alone)
{
	int fd = variant->open(O_WRONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(POLL_WRITE, polled(fd, POLL_ALL));
	ASSERT_EQ(100, put_at(fd, 0, 100, 1));
	EXPECT_EQ(POLL_WRITE, polled(fd, POLL_ALL));
	EXPECT_EQ(0, close(fd));
}

TEST_F(poll, o_nonblock_makes_no_difference)
{
	int fd = variant->open(O_RDWR | O_NONBLOCK);

	ASSERT_LE(0, fd);
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(fd, POLL_ALL));
	EXPECT_EQ(0, close(fd));
}

TEST_F(poll, a_latched_error_is_pollerr)
{
	latch_error(_metadata, self->fd);
	EXPECT_EQ(POLL_READ | POLL_WRITE | POLLERR, polled(self->fd, POLL_ALL));
	EXPECT_EQ(POLLERR, polled(self->fd, 0));
	/* Being told does not clear it. */
	EXPECT_EQ(EFAULT, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(POLLERR, polled(self->fd, 0));
}

struct waiter {
	int fd;
	short events;
	atomic_int tid;
	atomic_int done;
	int revents;
};

static void *wait_in_poll(void *arg)
{
	struct waiter *waiter = arg;
	struct pollfd poll_fd = { .fd = waiter->fd, .events = waiter->events };

	waiter->tid = my_tid();
	waiter->revents = poll(&poll_fd, 1, 10000) == 1 ? poll_fd.revents : -1;
	waiter->done = 1;
	return NULL;
}

TEST_F(poll, a_latched_error_wakes_who_waits)
{
	struct waiter waiter = { .fd = self->fd, .events = POLLPRI };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_poll, &waiter));
	ASSERT_TRUE(is_set_within(&waiter.tid, 5000));
	ASSERT_TRUE(sleeps_in(waiter.tid, SYS_POLL));
	EXPECT_EQ(0, waiter.done);
	latch_error(_metadata, self->fd);
	EXPECT_TRUE(is_set_within(&waiter.done, 5000));
	pthread_join(thread, NULL);
	EXPECT_EQ(POLLERR, waiter.revents);
}

TEST_F(poll, select_agrees)
{
	struct timeval none = {};
	fd_set in, out, pri;

	FD_ZERO(&in);
	FD_SET(self->fd, &in);
	out = pri = in;
	EXPECT_EQ(2, select(self->fd + 1, &in, &out, &pri, &none));
	EXPECT_TRUE(FD_ISSET(self->fd, &in));
	EXPECT_TRUE(FD_ISSET(self->fd, &out));
	EXPECT_FALSE(FD_ISSET(self->fd, &pri));
}

static int epoll_with(struct __test_metadata *_metadata, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = 0x123456789abcdefULL };
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
	return epfd;
}

TEST_F(poll, level_triggered_epoll_tells_again_and_again)
{
	int epfd = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP);

	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(EPOLLIN | EPOLLOUT, told(epfd, 0));
	}
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(epfd, 0));
	latch_error(_metadata, self->fd);
	EXPECT_EQ(EPOLLIN | EPOLLOUT | EPOLLERR, told(epfd, 0));
	close(epfd);
}

TEST_F(poll, edge_triggered_epoll_tells_of_each_write_once)
{
	int epfd = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLET);

	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	EXPECT_EQ(0, told(epfd, 20));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(100, put_at(self->fd, 100 * i, 100, 1));
		EXPECT_EQ(EPOLLIN, told(epfd, 0));
		EXPECT_EQ(0, told(epfd, 0));
	}
	/* Over what is there, too, and with pwritev2 in any of its ways. */
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 2));
	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	for (int flag = 0; flag <= RWF_ATOMIC; flag += RWF_ATOMIC) {
		struct iovec iov = { .iov_base = "xyz", .iov_len = 3 };

		ASSERT_EQ(3, pwritev2(self->fd, &iov, 1, 0, flag));
		EXPECT_EQ(EPOLLIN, told(epfd, 0));
		EXPECT_EQ(0, told(epfd, 0));
	}
	close(epfd);
}

TEST_F(poll, edge_triggered_epoll_has_no_edge_without_a_change)
{
	int epfd = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLET);
	char byte;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	EXPECT_EQ(1, pread(self->fd, &byte, 1, 0));
	EXPECT_EQ(0, pwrite(self->fd, &byte, 0, 0));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwrite(self->fd, nowhere(), 1, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(pwrite(self->fd, &byte, 1, -1)));
	EXPECT_EQ(EINVAL, ERRNO_OF(lseek(self->fd, -1, SEEK_SET)));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, told(epfd, 20));
	close(epfd);
}

TEST_F(poll, edge_triggered_epoll_tells_of_an_error)
{
	int epfd = epoll_with(_metadata, self->fd, EPOLLET);

	EXPECT_EQ(0, told(epfd, 0));
	latch_error(_metadata, self->fd);
	EXPECT_EQ(EPOLLERR, told(epfd, 0));
	EXPECT_EQ(0, told(epfd, 0));
	close(epfd);
}

TEST_F(poll, oneshot_epoll_tells_once_until_it_is_armed_again)
{
	int epfd = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLONESHOT);
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	EXPECT_EQ(0, told(epfd, 0));
	EXPECT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_MOD, self->fd, &event));
	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	EXPECT_EQ(0, told(epfd, 0));
	close(epfd);
}

TEST_F(poll, exclusive_epoll_misses_no_edge)
{
	int a = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);
	int b = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);

	EXPECT_EQ(EPOLLIN, told(a, 0));
	EXPECT_EQ(EPOLLIN, told(b, 0));
	for (int i = 0; i < 10; i++) {
		uint32_t by_a, by_b;

		ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
		by_a = told(a, 0);
		by_b = told(b, 0);
		/* One of the two at least. */
		EXPECT_EQ(EPOLLIN, by_a | by_b);
	}
	close(a);
	close(b);
}

TEST_F(poll, epoll_outlives_the_file)
{
	int fd = variant->open(O_RDWR), dup_fd, epfd;

	ASSERT_LE(0, fd);
	epfd = epoll_with(_metadata, fd, EPOLLIN);
	dup_fd = dup(fd);
	ASSERT_LE(0, dup_fd);
	EXPECT_EQ(0, close(fd));
	/* The file is open still, so it is still told of. */
	EXPECT_EQ(EPOLLIN, told(epfd, 0));
	EXPECT_EQ(0, close(dup_fd));
	EXPECT_EQ(0, told(epfd, 20));
	/* Its memory has been taken by others by now. */
	for (int i = 0; i < 100; i++) {
		fd = variant->open(O_RDWR);
		ASSERT_LE(0, fd);
		ASSERT_EQ(10, put_at(fd, 0, 10, 1));
		ASSERT_EQ(0, close(fd));
	}
	EXPECT_EQ(0, told(epfd, 0));
	EXPECT_EQ(0, close(epfd));
}

TEST_F(poll, epoll_can_be_nested)
{
	int inner = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLET);
	int outer = epoll_with(_metadata, inner, EPOLLIN);

	EXPECT_EQ(EPOLLIN, told(outer, 0));
	EXPECT_EQ(EPOLLIN, told(inner, 0));
	EXPECT_EQ(0, told(outer, 20));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(EPOLLIN, told(outer, 0));
	close(outer);
	close(inner);
}

struct epoll_race {
	int epfd;
	atomic_int over;
	atomic_int seen;
};

static void *wait_in_epoll(void *arg)
{
	struct epoll_race *race = arg;
	struct epoll_event events[8];

	pin_to(1);
	while (!race->over)
		if (epoll_wait(race->epfd, events, 8, 1) > 0)
			race->seen++;
	return NULL;
}

/* One thread waits while another opens, adds, writes, removes and closes. */
TEST_F(poll, epoll_races_with_open_and_close)
{
	struct epoll_race race = { .epfd = epoll_create1(EPOLL_CLOEXEC) };
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	long long end = now_ms() + RACE_MS;
	pthread_t thread;

	ASSERT_LE(0, race.epfd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_epoll, &race));
	pin_to(0);
	/* The other thread may not have run yet if the processors are busy. */
	for (int i = 0; now_ms() < end || (!race.seen && now_ms() < end + 10000); i++) {
		int fd = variant->open(O_RDWR);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, epoll_ctl(race.epfd, EPOLL_CTL_ADD, fd, &event));
		ASSERT_EQ(1, write(fd, "x", 1));
		if (i % 2) {
			ASSERT_EQ(0, epoll_ctl(race.epfd, EPOLL_CTL_DEL, fd, NULL));
		}
		ASSERT_EQ(0, close(fd));
	}
	race.over = 1;
	pthread_join(thread, NULL);
	EXPECT_LT(0, race.seen);
	close(race.epfd);
}

/* ---- what concerns one handle ---- */

/* A handle's position, error and rate are told to those who poll that handle. */
TEST_F(poll, what_concerns_one_handle_is_told_to_no_other)
{
	struct qemufile_rate rate = {
		.op = QEMUFILE_RATE_SET, .limit = MiB, .flags = QEMUFILE_RATE_KEEP,
	};
	int other = open_handle(self->fd, O_RDWR), own, others;

	ASSERT_LE(0, other);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	own = epoll_with(_metadata, other, EPOLLIN | EPOLLOUT | EPOLLET);
	others = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLOUT | EPOLLET);
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(own, 0));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(others, 0));

	ASSERT_EQ(10, lseek(other, 10, SEEK_SET));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(own, 0));
	EXPECT_EQ(0, told(others, 0));
	ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_RATE_LIMIT, &rate));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(own, 0));
	EXPECT_EQ(0, told(others, 0));
	latch_error(_metadata, other);
	/* One byte was written, which is for all to know. */
	EXPECT_EQ(EPOLLIN | EPOLLOUT | EPOLLERR, told(own, 0));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(others, 0));
	EXPECT_EQ(0, told(others, 20));
	close(own);
	close(others);
	close(other);
}

TEST_F(poll, an_error_that_is_set_is_told_to_no_other)
{
	struct qemufile_error error = { .error = -EIO };
	int other = open_handle(self->fd, O_RDONLY), own, others;

	ASSERT_LE(0, other);
	own = epoll_with(_metadata, other, EPOLLET);
	others = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLOUT | EPOLLET);
	EXPECT_EQ(0, told(own, 0));
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(others, 0));
	ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_SET_ERROR, &error));
	EXPECT_EQ(EPOLLERR, told(own, 0));
	EXPECT_EQ(0, told(others, 20));
	close(own);
	close(others);
	close(other);
}

/* Neither one that reads nor a mapping keeps anything from anybody. */
TEST_F(poll, a_close_that_changes_nothing_is_told_to_nobody)
{
	int reader = open_handle(self->fd, O_RDONLY), epfd;
	char *memory;

	ASSERT_LE(0, reader);
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	epfd = epoll_with(_metadata, self->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	EXPECT_EQ(EPOLLIN | EPOLLOUT, told(epfd, 0));
	ASSERT_EQ(0, close(reader));
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ(0, told(epfd, 20));
	close(epfd);
}

/* Woken by the stream or by the handle, through any number of waits. */
TEST_F(poll, a_wait_may_follow_another)
{
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(1, put_at(self->fd, 0, 1, 1));
	for (int i = 0; i < 20; i++) {
		struct waiter waiter = { .fd = reader, .events = POLLIN };
		pthread_t thread;

		ASSERT_LT(0, lseek(reader, 0, SEEK_END));
		ASSERT_EQ(0, pthread_create(&thread, NULL, wait_in_poll, &waiter));
		ASSERT_TRUE(is_set_within(&waiter.tid, 5000));
		ASSERT_TRUE(sleeps_in(waiter.tid, SYS_POLL));
		if (i % 3 == 0) {
			ASSERT_EQ(0, lseek(reader, 0, SEEK_SET));
		} else {
			ASSERT_EQ(1, put_at(self->fd, i, 1, 1));
		}
		EXPECT_TRUE(is_set_within(&waiter.done, 5000)) TH_LOG("wait %d", i);
		pthread_join(thread, NULL);
		EXPECT_EQ(POLLIN, waiter.revents);
		/* With nobody who waits, too. */
		ASSERT_EQ(1, put_at(self->fd, i, 1, 1));
	}
	close(reader);
}

struct poll_race {
	int fd;
	atomic_int over;
	atomic_int late;
};

static void *poll_and_read(void *arg)
{
	struct poll_race *race = arg;
	char byte;

	pin_to(1);
	while (!race->over) {
		struct pollfd poll_fd = { .fd = race->fd, .events = POLLIN };

		/* Nobody is told twice: a wake-up that is missed ends the wait late. */
		race->late += poll(&poll_fd, 1, 5000) == 0;
		if (read(race->fd, &byte, 1) != 1)
			break;
	}
	return NULL;
}

/* Waits that begin just when a byte comes. */
TEST_F(poll, no_byte_is_missed_by_a_wait_that_begins)
{
	struct poll_race race = { .fd = open_handle(self->fd, O_RDONLY) };
	long long end = now_ms() + RACE_MS;
	pthread_t thread;
	int i;

	ASSERT_LE(0, race.fd);
	ASSERT_EQ(0, pthread_create(&thread, NULL, poll_and_read, &race));
	pin_to(0);
	for (i = 0; now_ms() < end; i++) {
		ASSERT_EQ(1, write(self->fd, "x", 1));
		/* The reader is to have read it before the next one, and to wait. */
		while (lseek(race.fd, 0, SEEK_CUR) <= i && !race.late)
			;
	}
	race.over = 1;
	ASSERT_EQ(1, write(self->fd, "x", 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, race.late);
	close(race.fd);
}

TEST_HARNESS_MAIN
