// SPDX-License-Identifier: GPL-2.0
/* Calls on descriptors: opening and closing, waiting, fcntl(2), fallocate(2). */
#include "storm.h"

/* Each new stream gets a limit before anyone can write to it. */
int limited(int fd)
{
	if (fd >= 0 && set_limit(fd, LIMIT) && errno == EBADF) {
		/* Open for reading only: nobody will write to this one. */
	}
	return fd;
}

int open_device(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };

	return limited(open("/dev/qemufile", O_CLOEXEC | modes[below(4)] |
			    (one_in(4) ? 0 : O_NONBLOCK) | (one_in(8) ? O_APPEND : 0)));
}

/* A file of another process, or of this one, opened once more. */
int reopen(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	char path[64];

	if (one_in(2))
		snprintf(path, sizeof(path), "/proc/self/fd/%d", handle());
	else
		snprintf(path, sizeof(path), "/proc/%d/fd/%d",
			 shared->seats[below(PROCESSES)].pid, 3 + below(HANDLES + ROOTS));
	return limited(open(path, O_CLOEXEC | O_NOCTTY | O_NONBLOCK | modes[below(4)] |
			    (one_in(8) ? O_TRUNC : 0) | (one_in(8) ? O_APPEND : 0)));
}

int look_at_fdinfo(void)
{
	char path[64], text[1024];
	int fd, result;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", handle());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	result = read(fd, text, sizeof(text)) > 0 ? 0 : -1;
	close(fd);
	return result;
}

int poll_some(void)
{
	struct pollfd fds[4];

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = (struct pollfd){ .fd = handle(), .events = chance() };
	return poll(fds, ARRAY_LEN(fds), one_in(16) ? 10 : 0);
}

int epoll_some(void)
{
	struct epoll_event events[8] = { { .events = chance() & ~EPOLLEXCLUSIVE } };
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };

	if (one_in(4))
		return epoll_wait(epoll_fd, events, ARRAY_LEN(events), one_in(16) ? 10 : 0);
	return epoll_ctl(epoll_fd, ops[below(3)], handle(), events);
}

int fcntl_some(void)
{
	int fd = handle();

	switch (below(5)) {
	case 0:
		return fcntl(fd, F_SETFL, (one_in(4) ? 0 : O_NONBLOCK) |
			     (one_in(8) ? O_APPEND : 0) | (one_in(4) ? O_ASYNC : 0));
	case 1:
		return fcntl(fd, F_SETOWN, getpid());
	case 2: {
		struct flock lock = {
			.l_type = below(3), .l_whence = SEEK_SET, .l_start = below(LIMIT), .l_len = 1,
		};

		return fcntl(fd, F_SETLK, &lock);
	}
	case 3:
		return fcntl(fd, F_GETFL);
	default:
		return fcntl(fd, F_SETSIG, one_in(2) ? 0 : SIGUSR1);
	}
}

int close_one(void)
{
	int *slot = &handles[below(HANDLES)];
	int result = *slot < 0 ? -1 : close(*slot);

	*slot = -1;
	return result;
}

int fallocate_some(void)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
	};

	return fallocate(handle(), one_in(16) ? (int)edge() : modes[below(ARRAY_LEN(modes))],
			 place(), place());
}
