// SPDX-License-Identifier: GPL-2.0
/* Pages in and out of a file by splice(2). */
#include "bench.h"

#define CHUNK MiB

static int pipe_ends[2], null = -1;

static void open_pipe(struct run *run)
{
	must(run, "pipe2", pipe2(pipe_ends, O_CLOEXEC) == 0);
	must(run, "F_SETPIPE_SZ", fcntl(pipe_ends[1], F_SETPIPE_SZ, CHUNK) == CHUNK);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	must(run, "/dev/null", null >= 0);
}

static void close_pipe(void)
{
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	close(null);
}

static void move_pages(const struct run *run, int from, int to, long len)
{
	while (len > 0) {
		ssize_t done = splice(from, NULL, to, NULL, len, 0);

		must(run, "splice", done > 0);
		len -= done;
	}
}

static void fill(struct run *run)
{
	run->fd = open_filled(run, run->bytes);
}

static void before_out(struct run *run)
{
	open_pipe(run);
	lseek(run->fd, 0, SEEK_SET);
}

static void splice_out(struct run *run)
{
	for (long at = 0; at < run->bytes; at += CHUNK) {
		move_pages(run, run->fd, pipe_ends[1], CHUNK);
		move_pages(run, pipe_ends[0], null, CHUNK);
	}
}

static void after_out(struct run *run)
{
	(void)run;
	close_pipe();
}

/* The file that the pages come from. */
static void fill_source(struct run *run)
{
	run->other = open_filled(run, run->bytes);
}

static void before_in(struct run *run)
{
	open_pipe(run);
	run->fd = open_peer(run);
}

/* What puts the pages into the pipe is not measured. */
static void splice_in(struct run *run, bool from_file)
{
	long long ns = 0;

	if (from_file)
		lseek(run->other, 0, SEEK_SET);
	for (long at = 0; at < run->bytes; at += CHUNK) {
		long long start;

		if (from_file)
			move_pages(run, run->other, pipe_ends[1], CHUNK);
		else
			must(run, "write", write(pipe_ends[1], pattern, CHUNK) == CHUNK);
		start = now_ns();
		move_pages(run, pipe_ends[0], run->fd, CHUNK);
		ns += now_ns() - start;
	}
	run->ns = ns;
}

static void splice_in_written(struct run *run)
{
	splice_in(run, false);
}

static void splice_in_from_file(struct run *run)
{
	splice_in(run, true);
}

static void after_in(struct run *run)
{
	close(run->fd);
	close_pipe();
}

static void close_source(struct run *run)
{
	close(run->other);
}

static const struct work works[] = {
	{ .name = "splice, out, to /dev/null", .peers = FILES, .prepare = fill,
	  .before = before_out, .round = splice_out, .after = after_out, .finish = close_file },
	{ .name = "splice, in, pages of a pipe", .peers = FILES, .before = before_in,
	  .round = splice_in_written, .after = after_in },
	{ .name = "splice, in, pages of such a file", .peers = FILES, .prepare = fill_source,
	  .before = before_in, .round = splice_in_from_file, .after = after_in,
	  .finish = close_source },
};

const struct subject splices = { works, ARRAY_LEN(works) };
