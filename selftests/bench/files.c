// SPDX-License-Identifier: GPL-2.0
/* Plain calls on a file, by one thread. */
#include "bench.h"

/* What QEMU gives to one writev(2) at most, when it saves RAM: 32 headers and 32 pages. */
#define RAM_RECORDS 32
#define RAM_HEADER 8

/* Of MEMCPY, the memory that stands for the file. */
static void map_memory(struct run *run, int flags)
{
	run->map = mmap(NULL, run->bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	must(run, "mmap", run->map != MAP_FAILED);
}

static void open_new(struct run *run)
{
	if (run->peer == MEMCPY)
		map_memory(run, 0);
	else
		run->fd = open_peer(run);
}

static void fill(struct run *run)
{
	if (run->peer == MEMCPY)
		map_memory(run, MAP_POPULATE);
	else
		run->fd = open_filled(run, run->bytes);
}

static void close_it(struct run *run)
{
	if (run->peer == MEMCPY)
		munmap(run->map, run->bytes);
	else
		close(run->fd);
}

/* Of these, 4 times as many bytes as a round takes. */
static void fill_more(struct run *run)
{
	run->fd = open_filled(run, 4 * run->bytes);
}

static void rewind_file(struct run *run)
{
	if (run->peer != MEMCPY)
		lseek(run->fd, 0, SEEK_SET);
}

/* A call of the C library's, which the compiler does not see through. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

static void write_file(struct run *run)
{
	long record = run->work->record;

	if (run->peer != MEMCPY)
		write_all(run, run->fd, run->bytes, record);
	else
		for (long at = 0; at < run->bytes; at += record)
			copy(run->map + at, pattern, record);
}

static void read_file(struct run *run)
{
	long record = run->work->record;

	if (run->peer == MEMCPY) {
		for (long at = 0; at < run->bytes; at += record)
			copy(pattern, run->map + at, record);
		return;
	}
	for (long at = 0; at < run->bytes; at += record)
		must(run, "read", read(run->fd, pattern, record) == record);
}

static void write_ram(struct run *run)
{
	struct iovec parts[2 * RAM_RECORDS];
	static char header[RAM_HEADER];
	ssize_t len = RAM_RECORDS * (RAM_HEADER + PAGE);
	long calls = run->bytes / (RAM_RECORDS * PAGE);

	for (int i = 0; i < RAM_RECORDS; i++) {
		parts[2 * i] = (struct iovec){ header, RAM_HEADER };
		parts[2 * i + 1] = (struct iovec){ pattern + i * PAGE, PAGE };
	}
	for (long i = 0; i < calls; i++)
		must(run, "writev", writev(run->fd, parts, ARRAY_LEN(parts)) == len);
	run->bytes = calls * RAM_RECORDS * PAGE;
}

/* Into a file that has no pages yet, 16 times as long as what is written. */
static void write_at_random(struct run *run)
{
	uint64_t seed = 1, pages = 16 * run->bytes / PAGE;

	for (long at = 0; at < run->bytes; at += PAGE)
		must(run, "pwrite", pwrite(run->fd, pattern, PAGE, any(&seed, pages) * PAGE) == PAGE);
}

static void read_at_random(struct run *run)
{
	uint64_t seed = 1, pages = 4 * run->bytes / PAGE;

	for (long at = 0; at < run->bytes; at += PAGE)
		must(run, "pread", pread(run->fd, pattern, PAGE, any(&seed, pages) * PAGE) == PAGE);
}

#define AND_MEMCPY (FILES | ONLY(MEMCPY))
#define SEQUENTIAL(label, len)							\
	{ .name = "write, fresh, " label, .peers = AND_MEMCPY, .record = len,	\
	  .before = open_new, .round = write_file, .after = close_it },		\
	{ .name = "write, over, " label, .peers = AND_MEMCPY, .record = len,	\
	  .prepare = fill, .before = rewind_file, .round = write_file,		\
	  .finish = close_it },							\
	{ .name = "read, " label, .peers = AND_MEMCPY, .record = len,		\
	  .prepare = fill, .before = rewind_file, .round = read_file,		\
	  .finish = close_it }

static const struct work works[] = {
	SEQUENTIAL("1 MiB", MiB),
	SEQUENTIAL("64 KiB", 64 * KiB),
	SEQUENTIAL("4 KiB", 4 * KiB),
	{ .name = "RAM pattern, 32 x (8 B + 4 KiB)", .peers = FILES, .before = open_new,
	  .round = write_ram, .after = close_file },
	{ .name = "pwrite, random, fresh, 4 KiB", .peers = FILES, .record = PAGE,
	  .before = open_new, .round = write_at_random, .after = close_file },
	{ .name = "pread, random, 4 KiB", .peers = FILES, .record = PAGE, .prepare = fill_more,
	  .round = read_at_random, .finish = close_file },
};

const struct subject files = { works, ARRAY_LEN(works) };
