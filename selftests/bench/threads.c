// SPDX-License-Identifier: GPL-2.0
/*
 * Threads at disjoint parts of one file, as QEMU's multifd channels are with mapped-ram.
 * One thread moves as many bytes as two: the second has half of them, on another processor.
 */
#include "bench.h"

#define MAX_THREADS 2

struct worker {
	struct run *run;
	pthread_t thread;
	pthread_barrier_t *start;
	int number;
	bool writes;
	long long began, ended;
	const char *failed;
};

static void *work_on_part(void *arg)
{
	struct worker *worker = arg;
	const struct run *run = worker->run;
	long record = run->work->record, len = run->bytes / run->work->threads;
	long at = len * worker->number, end = at + len;
	/* Each has memory of its own, as QEMU's channels have. */
	char *memory = pattern + worker->number * (PATTERN / MAX_THREADS);

	pin_to(worker->number);
	pthread_barrier_wait(worker->start);
	worker->began = now_ns();
	for (; at < end; at += record) {
		ssize_t done = worker->writes ? pwrite(run->fd, memory, record, at) :
						pread(run->fd, memory, record, at);

		if (done != record) {
			worker->failed = worker->writes ? "pwrite" : "pread";
			break;
		}
	}
	worker->ended = now_ns();
	return NULL;
}

static void all_work(struct run *run, bool writes)
{
	struct worker workers[MAX_THREADS];
	long long began = LLONG_MAX, ended = 0;
	pthread_barrier_t start;
	int count = run->work->threads;

	pthread_barrier_init(&start, NULL, count);
	for (int i = 0; i < count; i++) {
		workers[i] = (struct worker){
			.run = run, .start = &start, .number = i, .writes = writes,
		};
		errno = pthread_create(&workers[i].thread, NULL, work_on_part, &workers[i]);
		must(run, "pthread_create", errno == 0);
	}
	for (int i = 0; i < count; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].failed)
			failed(run, workers[i].failed);
		began = workers[i].began < began ? workers[i].began : began;
		ended = workers[i].ended > ended ? workers[i].ended : ended;
	}
	pthread_barrier_destroy(&start);
	run->ns = ended - began;
}

static void threads_read(struct run *run)
{
	all_work(run, false);
}

static void threads_write(struct run *run)
{
	all_work(run, true);
}

static void fill(struct run *run)
{
	run->fd = open_filled(run, run->bytes);
}

/* As mapped-ram does it: the file has its length before the first write. */
static void open_sparse(struct run *run)
{
	run->fd = open_peer(run);
	set_length(run, run->fd, run->bytes);
}

static bool enough_processors(const struct work *work, enum peer peer)
{
	(void)peer;
	return work->threads <= processors();
}

#define THREADS(label, len, count)							\
	{ .name = "pread, " label, .peers = FILES, .record = len, .threads = count,	\
	  .joined = count > 1, .possible = enough_processors, .prepare = fill,		\
	  .round = threads_read, .finish = close_file }
#define OVER(label, len, count)								\
	{ .name = "pwrite, over, " label, .peers = FILES, .record = len,		\
	  .threads = count, .joined = count > 1, .possible = enough_processors,		\
	  .prepare = fill, .round = threads_write, .finish = close_file }
#define FRESH(label, len, count)							\
	{ .name = "pwrite, fresh, " label, .peers = FILES, .record = len,		\
	  .threads = count, .joined = count > 1, .possible = enough_processors,		\
	  .before = open_sparse, .round = threads_write, .after = close_file }
#define ONE_AND_TWO(row, label, len) row(label, len, 1), row(label, len, 2)

static const struct work works[] = {
	ONE_AND_TWO(THREADS, "64 KiB", 64 * KiB),
	ONE_AND_TWO(THREADS, "4 KiB", 4 * KiB),
	ONE_AND_TWO(OVER, "64 KiB", 64 * KiB),
	ONE_AND_TWO(OVER, "4 KiB", 4 * KiB),
	ONE_AND_TWO(FRESH, "64 KiB", 64 * KiB),
	ONE_AND_TWO(FRESH, "4 KiB", 4 * KiB),
};

const struct subject threads = { works, ARRAY_LEN(works) };
