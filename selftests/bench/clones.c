// SPDX-License-Identifier: GPL-2.0
/* A second stream with the same bytes; a peer copies. */
#include "bench.h"

/* What stays free when a work has its memory. */
#define SPARE (768 * MiB)

static void fill(struct run *run)
{
	run->bytes = run->work->size;
	run->fd = open_filled(run, run->bytes);
}

static void clone_file(struct run *run)
{
	run->other = clone_of(run, run->fd, run->bytes);
	run->calls = 1;
}

static void close_clone(struct run *run)
{
	close(run->other);
}

/* All peers are there at once, and one of them has a copy, too. */
static bool fits(const struct work *work, enum peer peer)
{
	long room = memory_available() - SPARE;

	return work->size <= (peer == QEMUFILE ? room : room / 4);
}

#define CLONE(label, len)								\
	{ .name = "clone of " label, .peers = FILES, .size = len, .possible = fits,	\
	  .prepare = fill, .round = clone_file, .after = close_clone, .finish = close_file }

static const struct work works[] = {
	CLONE("1 MiB", MiB),
	CLONE("16 MiB", 16 * MiB),
	CLONE("64 MiB", 64 * MiB),
	CLONE("256 MiB", 256 * MiB),
	CLONE("1 GiB", GiB),
	CLONE("4 GiB", 4 * GiB),
};

const struct subject clones = { works, ARRAY_LEN(works) };
