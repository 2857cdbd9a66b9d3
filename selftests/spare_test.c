// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that were drained and that the next writes take: nothing of the old bytes
 * shows, what others hold is not taken, and not too much is kept.
 */
#include <sys/uio.h>

#include "harness.h"
#include "groups.h"

/* A run, of which the memory is kept together: RUN_BYTES in rust/sized_buffer/spare.rs. */
#define RUN (16 * PAGE)

FIXTURE(spare) {
	int writer, reader;
	long long end;
};

FIXTURE_VARIANT(spare) {
	int (*open)(int flags);
	/* Bytes of a write: single pages, or runs. */
	long long record;
};

FIXTURE_VARIANT_ADD(spare, device_pages) {
	.open = open_device,
	.record = PAGE,
};

FIXTURE_VARIANT_ADD(spare, file_runs) {
	.open = open_file,
	.record = RUN,
};

FIXTURE_SETUP(spare)
{
	self->writer = variant->open(O_RDWR);
	ASSERT_LE(0, self->writer);
	self->reader = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, self->reader);
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_DRAIN));
}

FIXTURE_TEARDOWN(spare)
{
	close(self->reader);
	close(self->writer);
}

/* Writes @runs runs, a record at a time, and drains them all. */
static long long pass(int writer, int reader, long long pos, long long runs, long long record)
{
	long long end = pos + runs * RUN;

	for (; pos < end; pos += record)
		if (put_at(writer, pos, record, 1) != record)
			return -1;
	return take(reader, runs * RUN, end - runs * RUN, 1);
}

#define PASS(runs) do {									\
	ASSERT_EQ((runs) * RUN,								\
		  pass(self->writer, self->reader, self->end, runs, variant->record));	\
	self->end += (runs) * RUN;							\
} while (0)

TEST_F(spare, shows_nothing_of_what_was_drained)
{
	const long long pos = self->end + 4 * RUN;
	char *memory;

	PASS(4);
	/* The middle of a page, the start of one, and the end of one. */
	ASSERT_EQ(7, put_at(self->writer, pos + 100, 7, 2));
	ASSERT_EQ(9, put_at(self->writer, pos + 5 * PAGE, 9, 2));
	ASSERT_EQ(11, put_at(self->writer, pos + 8 * PAGE - 11, 11, 2));
	/* Reserved memory, and what follows the end of a longer write. */
	if (variant->open == open_file)
		ASSERT_EQ(0, fallocate(self->writer, 0, pos + 8 * PAGE, RUN));
	ASSERT_EQ(RUN + 5, put_at(self->writer, pos + 2 * RUN, RUN + 5, 2));
	ASSERT_EQ(4, put_at(self->writer, pos + 4 * RUN, 4, 2));
	EXPECT_EQ(100, right_at(self->writer, pos, 100, ZEROS));
	EXPECT_EQ(7, right_at(self->writer, pos + 100, 7, 2));
	EXPECT_EQ(5 * PAGE - 107, right_at(self->writer, pos + 107, 5 * PAGE - 107, ZEROS));
	EXPECT_EQ(3 * PAGE - 20,
		  right_at(self->writer, pos + 5 * PAGE + 9, 3 * PAGE - 20, ZEROS));
	EXPECT_EQ(2 * RUN - 8 * PAGE,
		  right_at(self->writer, pos + 8 * PAGE, 2 * RUN - 8 * PAGE, ZEROS));
	EXPECT_EQ(RUN - 5, right_at(self->writer, pos + 3 * RUN + 5, RUN - 5, ZEROS));
	/* A mapping shows whole pages. */
	memory = mmap(NULL, 4 * RUN, PROT_READ, MAP_SHARED, self->writer, pos);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(100, right(memory, 100, 0, ZEROS));
	EXPECT_EQ(5 * PAGE - 107, right(memory + 107, 5 * PAGE - 107, 0, ZEROS));
	EXPECT_EQ(RUN - 5, right(memory + 3 * RUN + 5, RUN - 5, 0, ZEROS));
	EXPECT_EQ(0, munmap(memory, 4 * RUN));
}

/* A page in a pipe, a clone, a copy by reflink, and a mapping of the clone. */
TEST_F(spare, takes_nothing_that_others_hold)
{
	loff_t in_stream = 0;
	int pipe_fds[2], clone;
	static char bytes[RUN];
	char *memory;

	ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
	ASSERT_LE(RUN, fcntl(pipe_fds[1], F_SETPIPE_SZ, 4 * RUN));
	for (long long pos = 0; pos < 4 * RUN; pos += variant->record)
		ASSERT_EQ(variant->record, put_at(self->writer, pos, variant->record, 1));
	ASSERT_EQ(RUN, splice(self->writer, &in_stream, pipe_fds[1], NULL, RUN, 0));
	clone = open_clone(self->writer, O_RDWR);
	ASSERT_LE(0, clone);
	memory = mmap(NULL, 4 * RUN, PROT_READ, MAP_SHARED, clone, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(4 * RUN, right(memory, 4 * RUN, 0, 1));
	ASSERT_EQ(4 * RUN, take(self->reader, 4 * RUN, 0, 1));
	for (long long pos = 4 * RUN; pos < 12 * RUN; pos += variant->record)
		ASSERT_EQ(variant->record, put_at(self->writer, pos, variant->record, 2));
	ASSERT_EQ(RUN, read(pipe_fds[0], bytes, RUN));
	EXPECT_EQ(RUN, right(bytes, RUN, 0, 1));
	EXPECT_EQ(4 * RUN, right_at(clone, 0, 4 * RUN, 1));
	EXPECT_EQ(4 * RUN, right(memory, 4 * RUN, 0, 1));
	EXPECT_EQ(0, munmap(memory, 4 * RUN));
	close(clone);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* Figures never tell of it. */
TEST_F(spare, is_not_what_the_stream_holds)
{
	PASS(8);
	EXPECT_EQ(0, info_of(self->writer).allocated);
	ASSERT_EQ(variant->record, put_at(self->writer, self->end, variant->record, 1));
	EXPECT_EQ(variant->record, (long long)info_of(self->writer).allocated);
	/* Some pages of a run are drained. */
	ASSERT_EQ(RUN, put_at(self->writer, self->end, RUN, 1));
	ASSERT_EQ(3 * PAGE, take(self->reader, 3 * PAGE, self->end, 1));
	EXPECT_EQ(RUN - 3 * PAGE, (long long)info_of(self->writer).allocated);
	EXPECT_EQ(self->end + 3 * PAGE, lseek(self->writer, 0, SEEK_DATA));
}

struct stream_in_use {
	int writer, reader;
	atomic_int over;
};

static void *write_on(void *arg)
{
	struct stream_in_use *stream = arg;
	static char bytes[PAGE] = { 1 };

	for (off_t pos = 0; !stream->over && pwrite(stream->writer, bytes, PAGE, pos) == PAGE;)
		pos += PAGE;
	return NULL;
}

static void *read_on(void *arg)
{
	struct stream_in_use *stream = arg;
	char bytes[PAGE];

	while (read(stream->reader, bytes, PAGE) > 0)
		;
	return NULL;
}

/* A reader that takes single pages leaves some behind. No figure tells of them. */
TEST_F(spare, does_not_show_in_figures_while_a_reader_goes_on)
{
	struct stream_in_use stream = { .writer = self->writer, .reader = self->reader };
	long long end = now_ms() + 2 * RACE_MS, looks = 0, wrong = 0;
	pthread_t writer, reader;

	/* Too little for memory ahead of writes: see ahead_test.c. */
	ASSERT_EQ(0, set_limit(self->writer, MiB / 2));
	ASSERT_EQ(0, pthread_create(&writer, NULL, write_on, &stream));
	ASSERT_EQ(0, pthread_create(&reader, NULL, read_on, &stream));
	for (; now_ms() < end; looks++) {
		struct qemufile_info info = info_of(self->writer);
		long long first = info.drained / PAGE * PAGE;

		wrong += (long long)(info.allocated + first) > (long long)(info.length + PAGE - 1);
	}
	stream.over = 1;
	EXPECT_EQ(0, pthread_join(writer, NULL));
	EXPECT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(0, pthread_join(reader, NULL));
	EXPECT_EQ(0, wrong) TH_LOG("%lld of %lld", wrong, looks);
}

/* A page that was drained says nothing about who may still store to the stream. */
TEST_F(spare, keeps_nobody_from_sealing)
{
	int stream = open_file(O_RDWR), reader = open_handle(stream, O_RDONLY), pipe_fds[2];
	char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, stream, 0);
	struct iovec page = { .iov_len = PAGE };
	char bytes[PAGE];

	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, ftruncate(stream, 4 * PAGE));
	memset(memory, 5, 4 * PAGE);
	ASSERT_EQ(0, munmap(memory, 4 * PAGE));
	ASSERT_EQ(0, set_flags(stream, QEMUFILE_STREAM_DRAIN));
	page.iov_base = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
	ASSERT_NE(MAP_FAILED, page.iov_base);
	ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(pipe_fds[1], &page, 1, 0));
	ASSERT_EQ(0, munmap(page.iov_base, 4 * PAGE));
	ASSERT_EQ(PAGE, read(reader, bytes, PAGE));
	EXPECT_EQ(0, set_flags(stream, QEMUFILE_STREAM_SEALED));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(reader);
	close(stream);
}

/* ---- how much is kept ---- */

/* Streams in a memory group that have drained all they got, and are idle then. */
struct idle {
	int (*open)(int flags);
	int streams;
	long long record, limit;
	/* Of each pass. */
	long long bytes;
	/* What the group uses then, with a limit of a page after that, after the writers' close. */
	long long used, limited, closed;
	/* What the program takes for itself before the limit. */
	long long own;
};

#define MOST_STREAMS 64

/* In the group. */
static int pass_and_idle(struct idle *idle)
{
	int writers[MOST_STREAMS], readers[MOST_STREAMS];
	long long before;

	if (!put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	for (int i = 0; i < idle->streams; i++) {
		writers[i] = idle->open(O_RDWR);
		readers[i] = open_handle(writers[i], O_RDONLY);
		if (readers[i] < 0 || set_flags(writers[i], QEMUFILE_STREAM_DRAIN) ||
		    set_limit(writers[i], idle->limit))
			return 2;
	}
	before = get_number(GROUP "/memory.current");
	for (int i = 0; i < idle->streams; i++) {
		for (long long pos = 0; pos < 3 * idle->bytes; pos += idle->bytes) {
			for (long long at = 0; at < idle->bytes; at += idle->record)
				if (put_at(writers[i], pos + at, idle->record, 1) != idle->record)
					return 3;
			if (take(readers[i], idle->bytes, pos, 1) != idle->bytes)
				return 4;
		}
	}
	idle->used = get_number(GROUP "/memory.current") - before;
	if (idle->own)
		memset(fresh_memory(idle->own), 1, idle->own);
	for (int i = 0; i < idle->streams; i++)
		if (set_limit(writers[i], PAGE))
			return 5;
	idle->limited = get_number(GROUP "/memory.current") - before;
	for (int i = 0; i < idle->streams; i++)
		close(writers[i]);
	idle->closed = get_number(GROUP "/memory.current") - before;
	return 0;
}

static struct idle *idle_streams(struct __test_metadata *_metadata, struct idle idle)
{
	struct idle *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	*shared = idle;
	child = fork_child();
	if (child == 0)
		_exit(pass_and_idle(shared));
	EXPECT_EQ(0, status_of(child));
	TH_LOG("%d streams keep %lld bytes, with a limit of a page %lld, after the close %lld",
	       idle.streams, shared->used, shared->limited, shared->closed);
	remove_group();
	return shared;
}

/* What a processor has charged in advance, the nodes of the trees, and others' doing. */
#define UNSURE MiB

TEST_F(spare, is_a_mebibyte_of_a_stream)
{
	struct idle idle = {
		.open = variant->open, .streams = 1, .record = variant->record, .bytes = 4 * MiB,
	};

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	EXPECT_GT(MiB + UNSURE, idle_streams(_metadata, idle)->used);
}

/* And so a program of their group finds memory. */
TEST_F(spare, is_little_in_all_streams_together)
{
	struct idle *shared, idle = {
		.open = variant->open, .streams = 16, .record = variant->record, .bytes = MiB,
		.own = 12 * MiB,
	};

	if (!make_group("25165824"))
		SKIP(return, "no memory control groups");
	put_text(GROUP "/memory.swap.max", "0");
	shared = idle_streams(_metadata, idle);
	EXPECT_GT(4 * MiB + UNSURE, shared->used);
	EXPECT_GT(idle.own + UNSURE, shared->closed);
}

TEST_F(spare, is_given_up_for_a_lower_limit)
{
	struct idle *shared, idle = {
		.open = variant->open, .streams = 4, .record = variant->record, .bytes = MiB,
	};

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	shared = idle_streams(_metadata, idle);
	EXPECT_GT(UNSURE, shared->limited);
	EXPECT_GT(UNSURE, shared->closed);
}

/* Nor does a stream leave much for later. */
TEST_F(spare, is_no_more_than_the_limit)
{
	struct idle idle = {
		.open = variant->open, .streams = MOST_STREAMS, .record = PAGE, .limit = PAGE,
		.bytes = PAGE,
	};

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	EXPECT_GT(MOST_STREAMS * 2 * PAGE + UNSURE, idle_streams(_metadata, idle)->used);
}

TEST_HARNESS_MAIN
