// SPDX-License-Identifier: GPL-2.0
/* A file that is mapped, and touched in each page; and its clone in the middle of that. */
#include "bench.h"

static void map(struct run *run)
{
	run->map = mmap(NULL, run->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, run->fd, 0);
	must(run, "mmap", run->map != MAP_FAILED);
}

static void unmap(struct run *run)
{
	munmap(run->map, run->bytes);
}

static void touch_to_read(struct run *run)
{
	volatile const char *memory = run->map;

	for (long at = 0; at < run->bytes; at += PAGE)
		(void)memory[at];
}

static void touch_to_write(struct run *run)
{
	volatile char *memory = run->map;

	for (long at = 0; at < run->bytes; at += PAGE)
		memory[at] = at;
}

static void fill(struct run *run)
{
	run->fd = open_filled(run, run->bytes);
}

static void map_new(struct run *run)
{
	run->fd = open_peer(run);
	set_length(run, run->fd, run->bytes);
	map(run);
}

static void unmap_and_close(struct run *run)
{
	unmap(run);
	close(run->fd);
}

/* ---- clones of memory in use; a peer that has none copies */

static void fill_and_map(struct run *run)
{
	fill(run);
	map(run);
	touch_to_write(run);
}

static void clone_mapped(struct run *run)
{
	run->other = clone_of(run, run->fd, run->bytes);
	run->calls = 1;
}

static void clone_and_touch(struct run *run)
{
	clone_mapped(run);
	touch_to_write(run);
}

static void close_clone(struct run *run)
{
	close(run->other);
}

static const struct work works[] = {
	{ .name = "mmap, read each page", .peers = FILES, .prepare = fill, .before = map,
	  .round = touch_to_read, .after = unmap, .finish = close_file },
	{ .name = "mmap, write each page", .peers = FILES, .prepare = fill, .before = map,
	  .round = touch_to_write, .after = unmap, .finish = close_file },
	{ .name = "mmap, write each page, fresh", .peers = FILES, .before = map_new,
	  .round = touch_to_write, .after = unmap_and_close },
	{ .name = "clone of mapped RAM", .peers = FILES, .prepare = fill_and_map,
	  .before = touch_to_write, .round = clone_mapped, .after = close_clone,
	  .finish = unmap_and_close },
	{ .name = "clone of mapped RAM, then write each page", .peers = FILES,
	  .prepare = fill_and_map, .before = touch_to_write, .round = clone_and_touch,
	  .after = close_clone, .finish = unmap_and_close },
};

const struct subject maps = { works, ARRAY_LEN(works) };
