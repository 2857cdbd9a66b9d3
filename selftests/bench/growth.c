// SPDX-License-Identifier: GPL-2.0
/*
 * What changes as a stream grows: the same work on streams of 1 MiB to 4 GiB, and the
 * memory that one of 256 MiB takes. All sizes are there at once and are measured in turn, so
 * that a figure of one size can be compared with that of another.
 */
#include "bench.h"

#define SPARE (256 * MiB)
#define APPENDED (16 * MiB)
#define READS 4096

static const long sizes[] = { MiB, 16 * MiB, 64 * MiB, 256 * MiB, GiB, 4 * GiB };

/* Of these two peers, a file of each size; two works share it. */
static struct { int fd, users; } grown[PEERS][ARRAY_LEN(sizes)];

static size_t number_of(const struct work *work)
{
	size_t i = 0;

	while (sizes[i] != work->size)
		i++;
	return i;
}

static void use(struct run *run)
{
	size_t i = number_of(run->work);

	if (grown[run->peer][i].users++ == 0)
		grown[run->peer][i].fd = open_filled(run, sizes[i]);
	run->fd = grown[run->peer][i].fd;
}

static void leave(struct run *run)
{
	if (--grown[run->peer][number_of(run->work)].users == 0)
		close(run->fd);
}

static void go_to_end(struct run *run)
{
	lseek(run->fd, run->work->size, SEEK_SET);
}

static void append(struct run *run)
{
	run->bytes = APPENDED;
	write_all(run, run->fd, APPENDED, MiB);
}

static void cut(struct run *run)
{
	set_length(run, run->fd, run->work->size);
}

static void read_at_random(struct run *run)
{
	uint64_t seed = 1;

	run->bytes = READS * PAGE;
	for (int i = 0; i < READS; i++)
		must(run, "pread", pread(run->fd, pattern, PAGE,
					 any(&seed, run->work->size / PAGE) * PAGE) == PAGE);
}

/*
 * Of memfd 1 GiB at most: it is there to show what the machine's own memory does. All sizes
 * up to one are there at once, which is a third more than the largest.
 */
static bool fits(const struct work *work, enum peer peer)
{
	long room = memory_available() - SPARE;

	if (work->size <= GiB)
		return 2 * (work->size + work->size / 3) <= room;
	return peer == QEMUFILE && work->size + work->size / 3 + GiB + GiB / 3 <= room;
}

/* ---- the memory of a stream, by the cgroup that pays for it */

#define CGROUP "/sys/fs/cgroup"

static long long cgroup_number(const char *name)
{
	long long number = -1;
	FILE *file = fopen(name, "re");

	if (file && fscanf(file, "%lld", &number) != 1)
		number = -1;
	if (file)
		fclose(file);
	return number;
}

static bool put(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

static bool have_cgroup(const struct work *work, enum peer peer)
{
	(void)peer;
	put(CGROUP "/cgroup.subtree_control", "+memory");
	return access(CGROUP "/memory.stat", R_OK) == 0 &&
	       2 * work->size <= memory_available() - SPARE;
}

static void enter_cgroup(struct run *run)
{
	rmdir(CGROUP "/bench");
	must(run, "a new cgroup", mkdir(CGROUP "/bench", 0755) == 0);
	must(run, "cgroup.procs", put(CGROUP "/bench/cgroup.procs", "0"));
}

static void fill_in_cgroup(struct run *run)
{
	const char *now = CGROUP "/bench/memory.current";
	long long before = cgroup_number(now);

	run->bytes = run->work->size;
	run->fd = open_filled(run, run->bytes);
	run->held = cgroup_number(now) - before;
	must(run, "memory.current", before >= 0 && run->held > 0);
}

static void leave_cgroup(struct run *run)
{
	close(run->fd);
	must(run, "cgroup.procs", put(CGROUP "/cgroup.procs", "0"));
	rmdir(CGROUP "/bench");
}

#define APPEND(label, len, is_joined)							\
	{ .name = "append at " label, .peers = ONLY(QEMUFILE) | ONLY(MEMFD),		\
	  .size = len, .joined = is_joined, .possible = fits, .prepare = use,		\
	  .before = go_to_end, .round = append, .after = cut, .finish = leave }
#define RANDOM(label, len)								\
	{ .name = "pread, random, of " label, .peers = ONLY(QEMUFILE) | ONLY(MEMFD),	\
	  .size = len, .joined = true, .possible = fits, .prepare = use,		\
	  .round = read_at_random, .finish = leave }

static const struct work works[] = {
	APPEND("1 MiB", MiB, false),
	APPEND("16 MiB", 16 * MiB, true),
	APPEND("64 MiB", 64 * MiB, true),
	APPEND("256 MiB", 256 * MiB, true),
	APPEND("1 GiB", GiB, true),
	APPEND("4 GiB", 4 * GiB, true),
	RANDOM("1 MiB", MiB),
	RANDOM("16 MiB", 16 * MiB),
	RANDOM("64 MiB", 64 * MiB),
	RANDOM("256 MiB", 256 * MiB),
	RANDOM("1 GiB", GiB),
	RANDOM("4 GiB", 4 * GiB),
	{ .name = "memory of 256 MiB", .peers = FILES, .size = 256 * MiB, .possible = have_cgroup,
	  .before = enter_cgroup, .round = fill_in_cgroup, .after = leave_cgroup },
};

const struct subject growth = { works, ARRAY_LEN(works) };
