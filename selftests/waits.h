/* SPDX-License-Identifier: GPL-2.0 */
/* Calls that wait, calls that others wait for, and polling. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_WAITS_H
#define QEMUFILE_SELFTESTS_WAITS_H

/* ---- calls that others wait for ---- */

/* Somebody who asks for a stream's figures all the while. */
struct onlooker {
	int fd;
	atomic_int over;
	long long longest_us;
	pthread_t thread;
};

static inline long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static inline void *look_on(void *arg)
{
	struct onlooker *onlooker = arg;
	struct qemufile_info info;

	pin_to(1);
	while (!onlooker->over) {
		long long start = now_us();

		ioctl(onlooker->fd, QEMUFILE_IOC_GET_INFO, &info);
		if (now_us() - start > onlooker->longest_us)
			onlooker->longest_us = now_us() - start;
	}
	return NULL;
}

/*
 * Which part of the time that @call takes somebody else waits for the stream at a
 * time, in percent. An emulated machine may stand still at any time, so a single
 * result says little: see first_quarter().
 */
static inline int held_percent(int fd, void (*call)(void *), void *arg)
{
	struct onlooker onlooker = { .fd = fd };
	long long took;

	pin_to(0);
	if (pthread_create(&onlooker.thread, NULL, look_on, &onlooker))
		return -1;
	sleep_ms(20);
	onlooker.longest_us = 0;
	took = now_us();
	call(arg);
	took = now_us() - took;
	onlooker.over = 1;
	pthread_join(onlooker.thread, NULL);
	return onlooker.longest_us * 100 / (took + 1);
}

static inline int compare_ints(const void *one, const void *other)
{
	return *(const int *)one - *(const int *)other;
}

/*
 * A quarter of the values are less. What disturbs a measurement makes it larger, so
 * the small ones are the right ones; the least may be of a moment too short to see.
 */
static inline int first_quarter(int *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_ints);
	return values[count / 4];
}

/* ---- calls that wait ---- */

/* A read in a thread of its own, of up to a page. */
struct pending_read {
	int fd;
	size_t len;
	off_t pos;		/* for pread; -1 for read */
	ssize_t result;
	int error;
	atomic_int tid;
	atomic_int done;
	pthread_t thread;
	unsigned char bytes[PAGE];
};

static inline void *do_pending_read(void *arg)
{
	struct pending_read *read_call = arg;

	read_call->tid = my_tid();
	read_call->result = read_call->pos < 0 ?
		read(read_call->fd, read_call->bytes, read_call->len) :
		pread(read_call->fd, read_call->bytes, read_call->len, read_call->pos);
	read_call->error = errno;
	read_call->done = 1;
	return NULL;
}

/* Starts a read, and says whether it waits. */
static inline bool read_waits(struct pending_read *read_call, int fd, size_t len, off_t pos)
{
	*read_call = (struct pending_read){ .fd = fd, .len = len, .pos = pos };
	return !pthread_create(&read_call->thread, NULL, do_pending_read, read_call) &&
	       is_set_within(&read_call->tid, 5000) &&
	       sleeps_in(read_call->tid, pos < 0 ? SYS_read : SYS_pread64) &&
	       !read_call->done;
}

/* What the read returned; -2 if it goes on after @ms. */
static inline ssize_t read_result(struct pending_read *read_call, int ms)
{
	if (!is_set_within(&read_call->done, ms))
		return -2;
	pthread_join(read_call->thread, NULL);
	errno = read_call->error;
	return read_call->result;
}

/* ---- polling ---- */

/* What poll() says at once; -1 if it fails. */
static inline int polled(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	return poll(&poll_fd, 1, 0) < 0 ? -1 : poll_fd.revents;
}

/* All that can be asked for. */
#define POLL_ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND | \
		  POLLWRNORM | POLLWRBAND)
#define POLL_READ (POLLIN | POLLRDNORM)
#define POLL_WRITE (POLLOUT | POLLWRNORM)

/* What an epoll instance with one file has to tell within @ms; 0 if nothing. */
static inline uint32_t told(int epfd, int ms)
{
	struct epoll_event event = {};
	int count = epoll_wait(epfd, &event, 1, ms);

	return count < 0 ? ~0U : count == 0 ? 0 : event.events;
}

#endif /* QEMUFILE_SELFTESTS_WAITS_H */
