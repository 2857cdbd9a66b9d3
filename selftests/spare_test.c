// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that were drained and that the next writes take: nothing of the old bytes
 * shows, what others hold is not taken, and not too much is kept.
 */
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

/* ---- how much is kept ---- */

#define STREAMS 16

/*
 * What the group uses while @STREAMS streams are idle, each with @limit, when half
 * of them got a limit of a page, and after the writers' close.
 */
struct idle {
	int (*open)(int flags);
	long long record, limit, used, limited, after;
};

/* In the group. */
static int pass_and_idle(struct idle *idle)
{
	int writers[STREAMS], readers[STREAMS];
	long long before;

	if (!put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	for (int i = 0; i < STREAMS; i++) {
		writers[i] = idle->open(O_RDWR);
		readers[i] = open_handle(writers[i], O_RDONLY);
		if (readers[i] < 0 || set_flags(writers[i], QEMUFILE_STREAM_DRAIN) ||
		    set_limit(writers[i], idle->limit))
			return 2;
	}
	before = get_number(GROUP "/memory.current");
	for (int i = 0; i < STREAMS; i++) {
		long long runs = (idle->limit ? idle->limit : 4 * MiB) / RUN;

		for (int round = 0; round < 3; round++)
			if (pass(writers[i], readers[i], round * runs * RUN, runs,
				 idle->record) != runs * RUN)
				return 3;
	}
	idle->used = get_number(GROUP "/memory.current") - before;
	for (int i = 0; i < STREAMS / 2; i++)
		if (set_limit(writers[i], PAGE))
			return 4;
	idle->limited = get_number(GROUP "/memory.current") - before;
	for (int i = 0; i < STREAMS; i++)
		close(writers[i]);
	idle->after = get_number(GROUP "/memory.current") - before;
	return 0;
}

static struct idle *idle_streams(struct __test_metadata *_metadata, int (*open)(int flags),
				 long long record, long long limit)
{
	struct idle *idle = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	*idle = (struct idle){ .open = open, .record = record, .limit = limit };
	child = fork_child();
	if (child == 0)
		_exit(pass_and_idle(idle));
	EXPECT_EQ(0, status_of(child));
	TH_LOG("limit %lld: %lld bytes, half of them limited to a page %lld, after the close %lld",
	       limit, idle->used, idle->limited, idle->after);
	return idle;
}

/* What a processor has charged in advance, the nodes of the trees, and others' doing. */
#define UNSURE (2 * MiB)

TEST_F(spare, is_a_mebibyte_at_the_most)
{
	struct idle *idle;

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	idle = idle_streams(_metadata, variant->open, variant->record, 0);
	EXPECT_GT(STREAMS * MiB + UNSURE, idle->used);
	EXPECT_GT(STREAMS / 2 * MiB + UNSURE, idle->limited);
	EXPECT_GT(UNSURE, idle->after);
	remove_group();
}

TEST_F(spare, is_no_more_than_the_limit)
{
	struct idle *idle;

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	idle = idle_streams(_metadata, variant->open, variant->record, 2 * RUN);
	EXPECT_GT(STREAMS * 2 * RUN + UNSURE, idle->used);
	EXPECT_GT(UNSURE, idle->after);
	remove_group();
}

TEST_HARNESS_MAIN
