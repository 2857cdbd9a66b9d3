// SPDX-License-Identifier: GPL-2.0
/* What a process has, and draws the arguments of its calls from. */
#include "storm.h"

struct seat *seat;
int handles[HANDLES];
int pipe_fds[2];
int epoll_fd;
char *arena;
const char *constant;
struct mapping mappings[MAPPINGS];

int handle(void)
{
	return handles[below(HANDLES)];
}

/* Puts a new handle in the place of another. */
void keep(int fd)
{
	int *slot = &handles[below(HANDLES)];

	if (fd < 0)
		return;
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
}

size_t size(void)
{
	switch (below(8)) {
	case 0:
		return edge() % (ARENA + PAGE);
	case 1:
		return below(ARENA);
	default:
		return below(3 * PAGE);
	}
}

/* An address for @len bytes, which is a good one as a rule. */
void *address(size_t len)
{
	int mapping = below(MAPPINGS);

	switch (below(32)) {
	case 0:
		return NULL;
	case 1:
		return (void *)(uintptr_t)(0xffff800000000000ULL + PAGE * chance() % (1ULL << 40));
	case 2:	/* runs into what cannot be touched */
		return arena + ARENA - (len ? below(len > ARENA ? ARENA : len) : 0);
	case 3:
		return (void *)constant;
	case 4:	/* the stream's own pages, or another's */
	case 5:
	case 6:
		if (mappings[mapping].at)
			return mappings[mapping].at + below(mappings[mapping].len);
		/* fall through */
	default:
		return arena + (len < ARENA ? below(ARENA - len) : 0);
	}
}
