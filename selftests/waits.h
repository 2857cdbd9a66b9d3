/* SPDX-License-Identifier: GPL-2.0 */
/* Calls that wait, and polling. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_WAITS_H
#define QEMUFILE_SELFTESTS_WAITS_H

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
