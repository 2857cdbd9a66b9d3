// SPDX-License-Identifier: GPL-2.0
/*
 * What a call costs those who make others: no more than a constant, however
 * long the call, the stream, and the list of those who have it mapped.
 */
#include <linux/fs.h>

#include "harness.h"

STREAM_FIXTURE(cost)

static long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- mappings ---- */

static int mappings(void)
{
	return clock_is_coarse() ? 300 : 1500;
}

/* The shortest of a few writes of one byte at @pos and a step further each, in ns. */
static long long write_ns(int fd, off_t pos, off_t step)
{
	long long best = INT64_MAX;

	for (int i = 0; i < 20; i++) {
		long long start = now_ns(), took;

		if (pwrite(fd, "x", 1, pos + i * step) != 1)
			return -1;
		took = now_ns() - start;
		best = took < best ? took : best;
	}
	return best;
}

/* Maps the first @pages of the stream over and over, and reads all of the first mapping. */
static bool map_often(int fd, int pages)
{
	const int count = mappings();

	for (int i = 0; i < count; i++) {
		volatile char *memory = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);

		if (memory == MAP_FAILED)
			return false;
		for (int page = 0; page < (i ? 1 : pages); page++)
			memory[page * PAGE];
	}
	return true;
}

/* A reader maps a page as often as it likes. The writer does not pay for it. */
TEST_F(cost, a_write_takes_no_longer_when_its_page_is_mapped_often)
{
	struct rlimit files = { .rlim_cur = 20, .rlim_max = 20 };
	int reader = open_handle(self->fd, O_RDONLY);
	long long before, after;

	ASSERT_LE(0, reader);
	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	before = write_ns(self->fd, 5, 0);
	/* A mapping takes no descriptor. */
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_TRUE(map_often(reader, 1));
	after = write_ns(self->fd, 5, 0);
	TH_LOG("%lld ns, mapped %d times %lld ns", before, mappings(), after);
	EXPECT_LT(after, 20 * before + 100000);
}

/* Holes that a reader has looked at are filled as fast as others, and stay holes until then. */
TEST_F(cost, a_hole_is_filled_in_no_longer_when_it_is_mapped_often)
{
	int reader = open_handle(self->fd, O_RDONLY);
	long long before, after;

	ASSERT_LE(0, reader);
	ASSERT_EQ(1, put_at(self->fd, 60 * PAGE, 1, 1));
	before = write_ns(self->fd, 5, PAGE);
	ASSERT_TRUE(map_often(reader, 60));
	EXPECT_EQ(20 * PAGE, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(60 * PAGE, lseek(self->fd, 20 * PAGE, SEEK_DATA));
	after = write_ns(self->fd, 20 * PAGE + 5, PAGE);
	TH_LOG("%lld ns, mapped %d times %lld ns", before, mappings(), after);
	EXPECT_LT(after, 20 * before + 100000);
}

/* ---- long calls ---- */

/* Of regular files alone, as some of the calls are. */
FIXTURE(others) {
};

FIXTURE_SETUP(others)
{
}

FIXTURE_TEARDOWN(others)
{
}

/* A long call on the stream, in a thread of its own. */
struct long_call {
	int fd;
	int other;
	char *memory;
	const char *name;
	ssize_t (*make)(struct long_call *call);
	ssize_t wanted;
	/* Whether the stream has bytes before. */
	bool filled;
	atomic_int done;
	ssize_t result;
	long long took;
};

#define LONG (48 * MiB)

static ssize_t atomic_write(struct long_call *call)
{
	struct iovec iov = { .iov_base = call->memory, .iov_len = LONG };

	return pwritev2(call->fd, &iov, 1, PAGE, RWF_ATOMIC);
}

static ssize_t share(struct long_call *call, off_t to)
{
	struct file_clone_range range = {
		.src_fd = call->other,
		.src_length = LONG - MiB,
		.dest_offset = to,
	};

	return ioctl(call->fd, FICLONERANGE, &range);
}

static ssize_t share_here(struct long_call *call)
{
	return share(call, 0);
}

static ssize_t share_elsewhere(struct long_call *call)
{
	return share(call, PAGE);
}

static ssize_t truncate_all(struct long_call *call)
{
	return ftruncate(call->fd, PAGE);
}

static ssize_t punch_all(struct long_call *call)
{
	return fallocate(call->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, LONG);
}

static ssize_t zero_all(struct long_call *call)
{
	return fallocate(call->fd, FALLOC_FL_ZERO_RANGE, PAGE, LONG);
}

static void *make_long_call(void *arg)
{
	struct long_call *call = arg;
	long long start = now_ns();

	call->result = call->make(call);
	call->took = now_ns() - start;
	call->done = 1;
	return NULL;
}

/*
 * While somebody changes 48 MiB in one call, a reader reads the first byte over
 * and over. The longest wait is a small part of what the call takes.
 */
TEST_F(others, go_on_while_a_long_change_is_made)
{
	struct long_call calls[] = {
		{ .name = "RWF_ATOMIC", .make = atomic_write, .wanted = LONG },
		{ .name = "RWF_ATOMIC, over", .make = atomic_write, .wanted = LONG, .filled = true },
		{ .name = "FICLONERANGE", .make = share_here, .filled = true },
		{ .name = "FICLONERANGE elsewhere", .make = share_elsewhere, .filled = true },
		{ .name = "truncate", .make = truncate_all, .filled = true },
		{ .name = "PUNCH_HOLE", .make = punch_all, .filled = true },
		{ .name = "ZERO_RANGE", .make = zero_all, .filled = true },
	};
	char *memory = fresh_memory(LONG), byte;
	int other = open_file(O_RDWR);

	ASSERT_NE(NULL, memory);
	memset(memory, 1, LONG);
	ASSERT_EQ(LONG, write(other, memory, LONG));
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		struct long_call *call = &calls[i];
		double part = 1;

		/* The best of some, as the machine may be busy with others. */
		for (int round = 0; round < 4 && part >= 0.5; round++) {
			long long longest = 0;
			pthread_t thread;

			call->done = 0;
			call->fd = open_file(O_RDWR);
			call->other = other;
			call->memory = memory;
			ASSERT_LE(0, call->fd);
			ASSERT_EQ(PAGE, pwrite(call->fd, memory, PAGE, 0));
			if (call->filled)
				ASSERT_EQ(LONG, pwrite(call->fd, memory, LONG, 0));
			pin_to(0);
			ASSERT_EQ(0, pthread_create(&thread, NULL, make_long_call, call));
			pin_to(1);
			while (!call->done) {
				long long start = now_ns(), took;

				ASSERT_EQ(1, pread(call->fd, &byte, 1, 0));
				took = now_ns() - start;
				longest = took > longest ? took : longest;
			}
			pthread_join(thread, NULL);
			EXPECT_EQ(call->wanted, call->result) TH_LOG("%s", call->name);
			part = (double)longest / call->took;
			close(call->fd);
		}
		TH_LOG("%-24s %7lld us, a reader waited for %2.0f %% of it", call->name,
		       call->took / 1000, part * 100);
		EXPECT_LT(part, 0.5) TH_LOG("%s", call->name);
	}
	close(other);
	munmap(memory, LONG);
}

/* A whole file, and what is at the same offset: the nodes are shared, not the pages one by one. */
TEST_F(others, wait_no_longer_for_a_clone_of_any_length)
{
	long long took[2] = { INT64_MAX, INT64_MAX };
	const long long lens[2] = { MiB, 64 * MiB };
	char *memory = fresh_memory(64 * MiB);

	ASSERT_NE(NULL, memory);
	memset(memory, 1, 64 * MiB);
	for (int i = 0; i < 2; i++) {
		int from = open_file(O_RDWR);

		ASSERT_EQ(lens[i], write(from, memory, lens[i]));
		for (int round = 0; round < 5; round++) {
			int to = open_file(O_RDWR);
			long long start = now_ns(), this_time;

			ASSERT_EQ(0, ioctl(to, FICLONE, from));
			this_time = now_ns() - start;
			took[i] = this_time < took[i] ? this_time : took[i];
			ASSERT_EQ(lens[i], length_of(to));
			close(to);
		}
		close(from);
	}
	TH_LOG("1 MiB: %lld us, 64 MiB: %lld us", took[0] / 1000, took[1] / 1000);
	EXPECT_LT(took[1], 5 * took[0] + 1000000);
	munmap(memory, 64 * MiB);
}

/* ---- readers ---- */

struct copier {
	int fd;
	char *memory;
	atomic_int over;
};

/* Reads a mebibyte at a time on processor 0, nearly always in the middle of a copy. */
static void *copy_on(void *arg)
{
	struct copier *copier = arg;

	pin_to(0);
	while (!copier->over)
		pread(copier->fd, copier->memory, MiB, 0);
	return NULL;
}

struct hog {
	atomic_int state;	/* 1: running, 2: done, -1: not allowed to */
};

/* Takes processor 0 from ordinary tasks for a while, wherever these are in the kernel. */
static void *take_processor(void *arg)
{
	struct sched_param priority = { .sched_priority = 1 };
	struct hog *hog = arg;
	long long end;

	pin_to(0);
	if (sched_setscheduler(0, SCHED_FIFO, &priority)) {
		hog->state = -1;
		return NULL;
	}
	hog->state = 1;
	end = now_ms() + 30;
	while (now_ms() < end)
		;
	hog->state = 2;
	return NULL;
}

/* Many readers copy at once: one that stands still in the middle of a copy stops no other. */
TEST_F(cost, a_reader_does_not_wait_for_the_copy_of_another)
{
	struct copier copier = { .fd = self->fd, .memory = fresh_memory(MiB) };
	int reader = open_handle(self->fd, O_RDONLY), at_once = 0;
	pthread_t thread;
	char byte;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	ASSERT_NE(NULL, copier.memory);
	ASSERT_LE(0, reader);
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, copy_on, &copier));
	pin_to(1);
	for (int round = 0; round < 10; round++) {
		struct hog hog = { .state = 0 };
		pthread_t other;

		sleep_ms(2);
		ASSERT_EQ(0, pthread_create(&other, NULL, take_processor, &hog));
		while (hog.state == 0)
			;
		EXPECT_EQ(1, pread(reader, &byte, 1, 0));
		at_once += hog.state == 1;
		pthread_join(other, NULL);
		if (hog.state == -1)
			break;
	}
	copier.over = 1;
	pthread_join(thread, NULL);
	TH_LOG("%d of 10 reads done while the other stood still", at_once);
	/* The other may stand still between two copies, and the machine at any time. */
	EXPECT_LE(6, at_once);
	munmap(copier.memory, MiB);
	close(reader);
}

/* SEEK_HOLE passes over what is full without looking at each page. */
TEST_F(cost, the_next_hole_is_found_in_the_same_time_for_any_length)
{
	char *memory = fresh_memory(MiB);
	long long took = INT64_MAX;

	ASSERT_NE(NULL, memory);
	memset(memory, 1, MiB);
	for (int i = 0; i < 64; i++)
		ASSERT_EQ(MiB, write(self->fd, memory, MiB));
	for (int i = 0; i < 20; i++) {
		long long start = now_ns(), this_time;

		ASSERT_EQ(64 * MiB, lseek(self->fd, 0, SEEK_HOLE));
		this_time = now_ns() - start;
		took = this_time < took ? this_time : took;
	}
	TH_LOG("%lld ns", took);
	EXPECT_LT(took, 200000);
	munmap(memory, MiB);
}

TEST_HARNESS_MAIN
