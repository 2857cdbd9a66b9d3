// SPDX-License-Identifier: GPL-2.0
/* O_ASYNC: a signal to the owner when there is data, and when there is room. */
#include "harness.h"

FIXTURE(fasync) {
	int reader;
	int writer;
};

FIXTURE_VARIANT(fasync) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(fasync, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(fasync, file) {
	.open = open_file,
};

static sigset_t wanted;

FIXTURE_SETUP(fasync)
{
	self->writer = variant->open(O_RDWR);
	ASSERT_LE(0, self->writer);
	self->reader = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, self->reader);
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGIO);
	sigaddset(&wanted, SIGRTMIN);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &wanted, NULL));
}

FIXTURE_TEARDOWN(fasync)
{
	close(self->reader);
	close(self->writer);
}

/* Asks for signals to this process. */
static int ask(int fd, int signal)
{
	return fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, signal) ||
	       fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC);
}

/* The signal that comes within @ms, and what it tells; 0 if none. */
static int received(siginfo_t *info, int ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	int number;

	memset(info, 0, sizeof(*info));
	do {
		number = sigtimedwait(&wanted, info, &time);
	} while (number < 0 && errno == EINTR);
	return number < 0 ? 0 : number;
}

TEST_F(fasync, the_flag_can_be_set_and_cleared)
{
	EXPECT_EQ(0, fcntl(self->reader, F_GETFL) & O_ASYNC);
	EXPECT_EQ(0, ask(self->reader, 0));
	EXPECT_EQ(O_ASYNC, fcntl(self->reader, F_GETFL) & O_ASYNC);
	EXPECT_EQ(getpid(), fcntl(self->reader, F_GETOWN));
	EXPECT_EQ(0, fcntl(self->reader, F_SETFL, O_RDONLY));
	EXPECT_EQ(0, fcntl(self->reader, F_GETFL) & O_ASYNC);
}

TEST_F(fasync, data_is_told_to_the_reader)
{
	siginfo_t info;

	ASSERT_EQ(0, ask(self->reader, 0));
	EXPECT_EQ(0, received(&info, 20));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(10, put_at(self->writer, 10 * i, 10, 1));
		EXPECT_EQ(SIGIO, received(&info, 2000));
	}
}

TEST_F(fasync, a_signal_of_ones_own_tells_which_and_what)
{
	siginfo_t info;

	ASSERT_EQ(0, ask(self->reader, SIGRTMIN));
	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(SIGRTMIN, received(&info, 2000));
	EXPECT_EQ(POLL_IN, info.si_code);
	EXPECT_EQ(self->reader, info.si_fd);
	EXPECT_EQ(POLLIN | POLLRDNORM, info.si_band & (POLLIN | POLLRDNORM));
}

TEST_F(fasync, the_last_writers_close_is_told)
{
	siginfo_t info;

	ASSERT_EQ(0, ask(self->reader, 0));
	ASSERT_EQ(0, close(self->writer));
	EXPECT_EQ(SIGIO, received(&info, 2000));
}

TEST_F(fasync, room_is_told_to_the_writer)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_limit limit = { .limit = 10 * PAGE };
	int writer = open_handle(self->writer, O_WRONLY);
	static char bytes[10 * PAGE];
	siginfo_t info;

	ASSERT_LE(0, writer);
	ASSERT_EQ(0, ioctl(writer, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(writer, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(10 * PAGE, put_at(writer, 0, 10 * PAGE, 1));
	ASSERT_EQ(0, ask(writer, SIGRTMIN));
	EXPECT_EQ(0, received(&info, 20));
	ASSERT_EQ(PAGE, read(self->reader, bytes, PAGE));
	EXPECT_EQ(SIGRTMIN, received(&info, 2000));
	EXPECT_EQ(POLL_OUT, info.si_code);
	EXPECT_EQ(writer, info.si_fd);
	close(writer);
}

TEST_F(fasync, nothing_is_told_without_the_flag_or_after_the_close)
{
	siginfo_t info;
	int other = open_handle(self->writer, O_RDONLY);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, ask(other, 0));
	ASSERT_EQ(0, ask(self->reader, 0));
	ASSERT_EQ(0, fcntl(self->reader, F_SETFL, 0));
	ASSERT_EQ(0, close(other));
	/* Each close may tell of itself. */
	while (received(&info, 0))
		;
	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(0, received(&info, 50));
}

TEST_F(fasync, all_that_asked_are_told)
{
	int readers[5];
	siginfo_t info;
	unsigned int told = 0;

	for (int i = 0; i < 5; i++) {
		readers[i] = open_handle(self->writer, O_RDONLY);
		ASSERT_LE(0, readers[i]);
		ASSERT_EQ(0, ask(readers[i], SIGRTMIN));
	}
	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(SIGRTMIN, received(&info, 2000));
		for (int j = 0; j < 5; j++)
			told |= info.si_fd == readers[j] ? 1U << j : 0;
	}
	EXPECT_EQ(31, told);
	for (int i = 0; i < 5; i++)
		close(readers[i]);
}

TEST_F(fasync, another_process_is_told)
{
	int ready[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(ready));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		siginfo_t info;

		if (ask(self->reader, 0))
			_exit(1);
		write(ready[1], "x", 1);
		_exit(received(&info, 5000) != SIGIO);
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(10, put_at(self->writer, 0, 10, 1));
	EXPECT_EQ(0, status_of(child));
}

struct asker {
	int fd;
	atomic_int over;
};

static void *ask_often(void *arg)
{
	struct asker *asker = arg;

	pin_to(1);
	while (!asker->over) {
		int fd = open_handle(asker->fd, O_RDWR);

		ask(fd, 0);
		close(fd);
	}
	return NULL;
}

TEST_F(fasync, files_come_and_go_while_signals_are_sent)
{
	struct asker asker = { .fd = self->writer };
	long long end = now_ms() + RACE_MS;
	pthread_t thread;
	siginfo_t info;

	ASSERT_EQ(0, pthread_create(&thread, NULL, ask_often, &asker));
	pin_to(0);
	while (now_ms() < end) {
		ASSERT_EQ(1, put_at(self->writer, 0, 1, 1));
		received(&info, 0);
	}
	asker.over = 1;
	pthread_join(thread, NULL);
}

TEST_F(fasync, time_to_write_is_told_to_the_writer_that_has_a_rate)
{
	static char bytes[4 * PAGE];
	siginfo_t info;
	int paced = open_handle(self->writer, O_WRONLY | O_NONBLOCK);

	ASSERT_LE(0, paced);
	/* In memory, so that a write is one step. */
	memset(bytes, 1, sizeof(bytes));
	ASSERT_EQ(0, ask(self->writer, SIGRTMIN));
	ASSERT_EQ(0, ask(paced, SIGRTMIN));
	ASSERT_EQ(0, set_rate(paced, 40 * KiB, QEMUFILE_RATE_KEEP));
	ASSERT_EQ(SIGRTMIN, received(&info, 0));
	EXPECT_EQ(paced, info.si_fd);
	EXPECT_EQ(0, received(&info, 0));
	/* The other one reads as well, and is told of bytes. */
	ASSERT_LT(0, write(paced, bytes, sizeof(bytes)));
	ASSERT_EQ(SIGRTMIN, received(&info, 0));
	EXPECT_EQ(POLL_IN, info.si_code);
	EXPECT_EQ(EAGAIN, ERRNO_OF(write(paced, bytes, sizeof(bytes))));
	EXPECT_EQ(0, received(&info, 0));
	ASSERT_EQ(SIGRTMIN, received(&info, 3000));
	EXPECT_EQ(paced, info.si_fd);
	EXPECT_EQ(POLL_OUT, info.si_code);
	EXPECT_EQ(0, received(&info, 20));
	close(paced);
}

TEST_F(fasync, what_concerns_another_handle_is_not_told)
{
	struct qemufile_error error = { .error = -EIO };
	siginfo_t info;
	int other = open_handle(self->writer, O_WRONLY);

	ASSERT_LE(0, other);
	ASSERT_EQ(100, put_at(self->writer, 0, 100, 1));
	ASSERT_EQ(0, ask(self->writer, 0));
	ASSERT_EQ(10, lseek(self->reader, 10, SEEK_SET));
	ASSERT_EQ(0, set_rate(self->reader, MiB, QEMUFILE_RATE_KEEP));
	ASSERT_EQ(0, set_rate(other, MiB, QEMUFILE_RATE_KEEP));
	ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_SET_ERROR, &error));
	ASSERT_EQ(0, close(self->reader));
	EXPECT_EQ(0, received(&info, 20));
	close(other);
}

/* ---- two threads ask of one file ---- */

struct asked {
	int fd;
	atomic_int round;
	atomic_int done;
	atomic_int over;
};

/* As many rounds, or what an emulated machine with a busy host does in 20 s. */
enum { ROUNDS = 1500, COARSE_ROUNDS = 300, MOST_MS = 20000 };

static void set_once(int fd, int how)
{
	int on = how & 1, flags = fcntl(fd, F_GETFL);

	if (how & 2)
		ioctl(fd, FIOASYNC, &on);
	else
		fcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC);
}

static void *set_in_turns(void *arg)
{
	struct asked *asked = arg;

	pin_to(1);
	for (int round = 1;; round++) {
		while (asked->round < round)
			if (asked->over)
				return NULL;
		for (int i = 0; i < 4; i++)
			set_once(asked->fd, round + i);
		asked->done = round;
	}
}

/* How many signals come of a change that readers and writers are told of. */
static int count_told(int fd)
{
	struct qemufile_limit limit = { .limit = MiB };
	siginfo_t info;
	int count = 0;

	while (received(&info, 0))
		;
	if (ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit))
		return -1;
	while (received(&info, 0))
		count++;
	return count;
}

/* However the calls mix, what the flag says is what happens, and it ends with the file. */
TEST_F_TIMEOUT(fasync, two_threads_may_set_the_flag_of_one_file, 60)
{
	struct asked asked = { .fd = -1 };
	const int rounds = clock_is_coarse() ? COARSE_ROUNDS : ROUNDS;
	long long end = now_ms() + MOST_MS;
	int wrong_set = 0, wrong_clear = 0, wrong_closed = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, set_in_turns, &asked));
	pin_to(0);
	for (int round = 1; round <= rounds && now_ms() < end; round++) {
		asked.fd = open_handle(self->writer, O_RDWR);
		ASSERT_LE(0, asked.fd);
		ASSERT_EQ(0, fcntl(asked.fd, F_SETOWN, getpid()));
		/* Unlike SIGIO, each is queued. */
		ASSERT_EQ(0, fcntl(asked.fd, F_SETSIG, SIGRTMIN));
		asked.round = round;
		for (int i = 0; i < 4; i++)
			set_once(asked.fd, round / 4 + i);
		while (asked.done < round)
			;
		set_once(asked.fd, round / 16 | 1);
		wrong_set += count_told(self->writer) != 2;
		set_once(asked.fd, round / 16 & ~1);
		wrong_clear += count_told(self->writer) != 0;
		ASSERT_EQ(0, close(asked.fd));
		wrong_closed += count_told(self->writer) != 0;
	}
	asked.over = 1;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, wrong_set);
	EXPECT_EQ(0, wrong_clear);
	EXPECT_EQ(0, wrong_closed);
}

TEST_HARNESS_MAIN
