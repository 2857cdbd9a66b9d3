/* SPDX-License-Identifier: GPL-2.0 */
/* A memory control group, for one test at a time. */
#ifndef QEMUFILE_SELFTESTS_GROUPS_H
#define QEMUFILE_SELFTESTS_GROUPS_H

#include "harness.h"

#define GROUPS "/sys/fs/cgroup"
#define GROUP GROUPS "/qemufile-selftest"

static inline bool put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static inline long long get_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long long number = -1;

	if (file) {
		if (fscanf(file, "%lld", &number) != 1)
			number = -1;
		fclose(file);
	}
	return number;
}

static inline bool make_group(const char *limit)
{
	put_text(GROUPS "/cgroup.subtree_control", "+memory");
	rmdir(GROUP);
	return mkdir(GROUP, 0700) == 0 && put_text(GROUP "/memory.max", limit);
}

/* Takes the group away, which may take a moment after its last process has gone. */
static inline void remove_group(void)
{
	for (int i = 0; i < 500 && rmdir(GROUP) && errno == EBUSY; i++)
		sleep_ms(10);
}

/* Waits up to 5 s until it does. */
static inline bool group_uses_less_than(long long bytes)
{
	for (int i = 0; i < 500 && get_number(GROUP "/memory.current") >= bytes; i++)
		sleep_ms(10);
	return get_number(GROUP "/memory.current") < bytes;
}

#endif /* QEMUFILE_SELFTESTS_GROUPS_H */
