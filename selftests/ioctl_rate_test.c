// SPDX-License-Identifier: GPL-2.0
/*
 * QEMUFILE_IOC_RATE_LIMIT: QEMU's limit, which the writer asks about itself, and
 * one that the kernel keeps.
 */
#include "harness.h"

STREAM_FIXTURE(rate)

static struct qemufile_rate ask(int fd, unsigned int op, uint64_t limit, unsigned int flags)
{
	struct qemufile_rate rate = { .op = op, .limit = limit, .flags = flags };

	if (ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate))
		memset(&rate, 0xee, sizeof(rate));
	return rate;
}

TEST_F(rate, there_is_no_limit_at_first)
{
	struct qemufile_rate rate = ask(self->fd, QEMUFILE_RATE_GET, 777, 0);

	EXPECT_EQ(0, rate.limit);
	EXPECT_EQ(0, rate.xfer);
	EXPECT_EQ(0, rate.flags);
	EXPECT_EQ(0, rate.exceeded);
	EXPECT_EQ(0, rate.reserved);
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	rate = ask(self->fd, QEMUFILE_RATE_GET, 0, 0);
	EXPECT_EQ(MiB, (long long)rate.xfer);
	EXPECT_EQ(0, rate.exceeded);
}

/* As qemu_file_rate_limit() has it: once more than the limit has been written. */
TEST_F(rate, qemus_limit_is_told_and_not_kept)
{
	struct qemufile_rate rate = ask(self->fd, QEMUFILE_RATE_SET, 1000, 0);
	struct qemufile_info info;

	EXPECT_EQ(1000, rate.limit);
	EXPECT_EQ(0, rate.exceeded);
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(0, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).exceeded);
	ASSERT_EQ(1, put_at(self->fd, 1000, 1, 1));
	rate = ask(self->fd, QEMUFILE_RATE_GET, 0, 0);
	EXPECT_EQ(1, rate.exceeded);
	EXPECT_EQ(1001, rate.xfer);
	/* Nothing is held up. */
	EXPECT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	EXPECT_EQ(POLLOUT, polled(self->fd, POLLOUT));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(1000, info.rate_limit);
	EXPECT_EQ(MiB + 1001, (long long)info.xfer);
	rate = ask(self->fd, QEMUFILE_RATE_RESET, 0, 0);
	EXPECT_EQ(0, rate.xfer);
	EXPECT_EQ(0, rate.exceeded);
	EXPECT_EQ(1000, rate.limit);
}

TEST_F(rate, reading_does_not_count)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(100, read(self->fd, bytes, 100));
	EXPECT_EQ(100, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).xfer);
}

TEST_F(rate, only_what_was_written_counts)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};

	ASSERT_EQ(4, writev(self->fd, iov, 2));
	EXPECT_EQ(4, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).xfer);
	EXPECT_EQ(EFAULT, ERRNO_OF(pwritev2(self->fd, iov, 2, 0, RWF_ATOMIC)));
	EXPECT_EQ(4, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).xfer);
}

TEST_F(rate, is_the_handles_own)
{
	int other = open_handle(self->fd, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_rate(self->fd, 1000, 0));
	ASSERT_EQ(5000, put_at(self->fd, 0, 5000, 1));
	EXPECT_EQ(0, ask(other, QEMUFILE_RATE_GET, 0, 0).limit);
	EXPECT_EQ(0, ask(other, QEMUFILE_RATE_GET, 0, 0).xfer);
	close(other);
}

TEST_F(rate, a_wrong_request_is_einval)
{
	struct qemufile_rate rate = { .op = 3 };

	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate)));
	rate.op = ~0U;
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_RATE_LIMIT, &rate)));
	EXPECT_EQ(EINVAL, ERRNO_OF(set_rate(self->fd, 1, 2)));
	EXPECT_EQ(EINVAL, ERRNO_OF(set_rate(self->fd, 1, ~0U)));
	EXPECT_EQ(0, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).limit);
}

/* ---- kept by the kernel ---- */

TEST_F(rate, the_kernel_keeps_the_rate)
{
	/* A tenth of a second's worth goes at once, and the rest in its time. */
	const long long rate = 4 * MiB, len = 3 * MiB;
	long long start = now_ms(), took;

	ASSERT_EQ(0, set_rate(self->fd, rate, QEMUFILE_RATE_KEEP));
	ASSERT_EQ(len, put_at(self->fd, 0, len, 1));
	took = now_ms() - start;
	EXPECT_LE((len - rate / 10) * 1000 / rate - 20, took);
	EXPECT_GE(len * 1000 / rate + 700, took);
	EXPECT_EQ(len, right_at(self->fd, 0, len, 1));
	EXPECT_EQ(QEMUFILE_RATE_KEEP, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).flags);
}

/* Uses up what may go at once. */
static void use_up(struct __test_metadata *_metadata, int fd, long long rate)
{
	struct iovec iov = { .iov_base = fresh_memory(2 * rate), .iov_len = 2 * rate };
	ssize_t put;

	ASSERT_EQ(0, set_rate(fd, rate, QEMUFILE_RATE_KEEP));
	do {
		put = pwritev2(fd, &iov, 1, 0, RWF_NOWAIT);
	} while (put > 0);
	ASSERT_EQ(EAGAIN, errno);
}

TEST_F(rate, a_write_that_may_not_wait_is_short_and_then_eagain)
{
	char *memory = fresh_memory(MiB);

	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, set_rate(self->fd, 100 * KiB, QEMUFILE_RATE_KEEP));
	EXPECT_EQ(10 * KiB, write(self->fd, memory, MiB));
	EXPECT_EQ(EAGAIN, ERRNO_OF(write(self->fd, memory, MiB)));
	EXPECT_EQ(1, ask(self->fd, QEMUFILE_RATE_GET, 0, 0).exceeded);
	EXPECT_EQ(0, fsync(self->fd));
	sleep_ms(150);
	EXPECT_LT(0, write(self->fd, memory, MiB));
}

TEST_F(rate, poll_tells_whether_a_write_would_wait)
{
	struct pollfd poll_fd = { .fd = self->fd, .events = POLLOUT };
	long long start;

	ASSERT_EQ(0, set_rate(self->fd, 40 * KiB, QEMUFILE_RATE_KEEP));
	EXPECT_EQ(POLLOUT, polled(self->fd, POLLOUT));
	use_up(_metadata, self->fd, 40 * KiB);
	EXPECT_EQ(0, polled(self->fd, POLLOUT));
	/* Readers are not held up. */
	EXPECT_EQ(POLLIN, polled(self->fd, POLLIN | POLLOUT));
	start = now_ms();
	EXPECT_EQ(1, poll(&poll_fd, 1, 5000));
	EXPECT_EQ(POLLOUT, poll_fd.revents);
	EXPECT_GT(1500, now_ms() - start);
	EXPECT_EQ(1, pwrite(self->fd, "x", 1, 0));
}

TEST_F(rate, epoll_is_woken_in_time)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, epfd);
	use_up(_metadata, self->fd, 40 * KiB);
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, 3000));
	close(epfd);
}

/* Nor does a limit that is set for it concern any other. */
TEST_F(rate, epoll_of_another_handle_is_not_woken)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int other = open_handle(self->fd, O_WRONLY), epfds[2];

	ASSERT_LE(0, other);
	for (int i = 0; i < 2; i++) {
		epfds[i] = epoll_create1(EPOLL_CLOEXEC);
		ASSERT_LE(0, epfds[i]);
	}
	ASSERT_EQ(0, epoll_ctl(epfds[0], EPOLL_CTL_ADD, other, &event));
	ASSERT_EQ(1, epoll_wait(epfds[0], &event, 1, 0));
	/* Limits this one, and writes what it may. */
	use_up(_metadata, self->fd, 40 * KiB);
	EXPECT_EQ(0, epoll_wait(epfds[0], &event, 1, 0));
	ASSERT_EQ(0, epoll_ctl(epfds[1], EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(1, epoll_wait(epfds[1], &event, 1, 3000));
	EXPECT_EQ(0, epoll_wait(epfds[0], &event, 1, 0));
	for (int i = 0; i < 2; i++)
		close(epfds[i]);
	close(other);
}

/* A timer that runs has a handle to tell, or does not run. */
TEST_F(rate, a_handle_may_be_closed_before_its_time_comes)
{
	const int rounds = clock_is_coarse() ? 60 : 200;
	struct epoll_event event = { .events = EPOLLOUT };
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, epfd);
	for (int i = 0; i < rounds; i++) {
		int fd = open_handle(self->fd, O_WRONLY | O_NONBLOCK);

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, set_rate(fd, i % 2 ? 100 * KiB : MiB, QEMUFILE_RATE_KEEP));
		while (write(fd, fresh_memory(CHUNK), CHUNK) > 0)
			;
		EXPECT_EQ(EAGAIN, errno);
		ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
		if (i % 4 == 0)
			sleep_ms(4);
		ASSERT_EQ(0, close(fd));
	}
	EXPECT_EQ(0, epoll_wait(epfd, &event, 1, 50));
	close(epfd);
}

TEST_F(rate, a_signal_interrupts_a_write_that_waits)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval timer = { .it_value = { .tv_usec = 100000 } };
	char *memory = fresh_memory(MiB);
	ssize_t put;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	/* A MiB would take a hundred seconds. */
	use_up(_metadata, self->fd, 10 * KiB);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	put = write(self->fd, memory, MiB);
	EXPECT_TRUE((put > 0 && put < 20 * KiB) || (put == -1 && errno == EINTR));
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(rate, a_writer_that_waits_can_be_killed)
{
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0) {
		set_rate(self->fd, 1, QEMUFILE_RATE_KEEP);
		write(self->fd, fresh_memory(MiB), MiB);
		_exit(0);
	}
	EXPECT_TRUE(sleeps_in(child, SYS_write));
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
}

TEST_F(rate, another_limit_ends_the_wait)
{
	long long start = now_ms();
	pid_t child;

	ASSERT_EQ(0, set_rate(self->fd, 1, QEMUFILE_RATE_KEEP));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(write(self->fd, fresh_memory(PAGE), PAGE) != PAGE);
	ASSERT_TRUE(sleeps_in(child, SYS_write));
	ASSERT_EQ(0, set_rate(self->fd, 0, 0));
	EXPECT_EQ(0, status_of(child));
	EXPECT_GT(10000, now_ms() - start);
}

struct paced_writer {
	int fd;
	atomic_int round;	/* -1 is the end */
	atomic_int done;
};

/* The first write of a round leaves so little to the second that it would wait for an hour. */
static void *write_two_pages_a_round(void *arg)
{
	struct iovec page = { .iov_base = fresh_memory(PAGE), .iov_len = PAGE };
	struct paced_writer *writer = arg;
	int round = 1, now;

	pin_to(1);
	for (;; round++) {
		while ((now = atomic_load(&writer->round)) < round)
			if (now < 0)
				return NULL;
		if (pwritev2(writer->fd, &page, 1, 0, RWF_ATOMIC) == PAGE &&
		    pwritev2(writer->fd, &page, 1, 0, 0) == PAGE)
			atomic_store(&writer->done, round);
	}
}

/* Also when it comes just as the writer goes to sleep. */
TEST_F(rate, another_limit_ends_the_wait_whenever_it_comes)
{
	struct paced_writer writer = { .fd = self->fd };
	long long end = now_ms() + RACE_MS, waited;
	unsigned int seed = 1;
	pthread_t thread;
	int round = 0;

	pin_to(0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_two_pages_a_round, &writer));
	while (now_ms() < end || round < 5) {
		ASSERT_EQ(0, set_rate(self->fd, 1, QEMUFILE_RATE_KEEP));
		atomic_store(&writer.round, ++round);
		for (int i = draw(&seed, 30000); i > 0; i--)
			__asm__ volatile("");
		ASSERT_EQ(0, set_rate(self->fd, 0, 0));
		waited = now_ms() + 5000;
		while (atomic_load(&writer.done) < round) {
			ASSERT_GT(waited, now_ms()) TH_LOG("asleep in round %d", round);
		}
	}
	atomic_store(&writer.round, -1);
	pthread_join(thread, NULL);
}

TEST_F(rate, an_atomic_write_goes_whole)
{
	struct iovec iov = { .iov_base = fresh_memory(CHUNK), .iov_len = CHUNK };

	ASSERT_EQ(0, set_rate(self->fd, 100 * KiB, QEMUFILE_RATE_KEEP));
	EXPECT_EQ(CHUNK, pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC | RWF_NOWAIT)));
}

TEST_F(rate, spliced_pages_count_against_the_rate)
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

/* A page for a handle whose rate allows one at a time, moved or copied. */
struct page_to_go {
	int fd, pipe[2];
	off_t pos;
	pthread_barrier_t *start;
	ssize_t result;
	pthread_t thread;
};

static void *let_it_go(void *arg)
{
	static const char bytes[PAGE];
	struct page_to_go *page = arg;
	off_t pos = page->pos;

	pin_to(pos != 0);
	pthread_barrier_wait(page->start);
	page->result = page->pipe[0] < 0 ? pwrite(page->fd, bytes, PAGE, pos) :
		splice(page->pipe[0], NULL, page->fd, &pos, PAGE, SPLICE_F_NONBLOCK);
	return NULL;
}

/* How many of two writers at once get through within the time of one; -1 if something fails. */
static int pages_that_go(bool moved)
{
	static const char bytes[PAGE];
	struct page_to_go pages[2];
	pthread_barrier_t start;
	long long begin;
	int fd = open_device(O_RDWR | O_NONBLOCK), went = 0;

	ask(fd, QEMUFILE_RATE_SET, 10 * PAGE, QEMUFILE_RATE_KEEP);
	pthread_barrier_init(&start, NULL, 3);
	for (int i = 0; i < 2; i++) {
		pages[i] = (struct page_to_go){
			.fd = fd, .pipe = { -1, -1 }, .pos = i * MiB, .start = &start,
		};
		if (moved && (pipe(pages[i].pipe) || write(pages[i].pipe[1], bytes, PAGE) != PAGE))
			return -1;
		if (pthread_create(&pages[i].thread, NULL, let_it_go, &pages[i]))
			return -1;
	}
	begin = now_ms();
	pthread_barrier_wait(&start);
	for (int i = 0; i < 2; i++) {
		pthread_join(pages[i].thread, NULL);
		went += pages[i].result > 0;
		if (moved) {
			close(pages[i].pipe[0]);
			close(pages[i].pipe[1]);
		}
	}
	close(fd);
	/* After that the next one may go. */
	return now_ms() - begin < 90 ? went : 1;
}

TEST_F(rate, writers_at_once_do_not_have_more_of_it)
{
	for (int moved = 0; moved < 2; moved++) {
		long long end = now_ms() + RACE_MS;

		while (now_ms() < end)
			ASSERT_EQ(1, pages_that_go(moved)) TH_LOG("moved: %d", moved);
	}
}

/* Edge-triggered: the edge comes with the tokens, though nobody polls meanwhile. */
TEST_F(rate, a_paced_writer_gets_its_edge)
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

TEST_HARNESS_MAIN
