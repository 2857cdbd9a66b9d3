// SPDX-License-Identifier: GPL-2.0
/*
 * What a call costs those who make others meanwhile: no more than a part of it,
 * however long the call and the stream.
 */
#include <linux/fs.h>

#include "harness.h"
#include "ram.h"
#include "cost.h"

STREAM_FIXTURE(others)

/* Of a long call, others wait for a quarter at most. */
#define EXPECT_SHORT_WAITS(what, held, wanted) do {					\
	TH_LOG("%-24s %6lld us, somebody else waits for %2d %% of it", what,		\
	       (held).took / 1000, (held).percent);					\
	EXPECT_EQ(wanted, (held).result) TH_LOG("%s: %m", what);			\
	EXPECT_GT(25, (held).percent) TH_LOG("%s", what);				\
} while (0)

/* ---- changes ---- */

#define LONG (128 * MiB)

struct change {
	const char *name;
	ssize_t (*make)(void *change);
	ssize_t wanted;
	/* Whether the stream has bytes before. */
	bool filled;
	int fd;
	int other;
	char *memory;
};

static ssize_t atomic_write(void *arg)
{
	struct change *change = arg;
	struct iovec iov = { .iov_base = change->memory, .iov_len = LONG };

	return pwritev2(change->fd, &iov, 1, PAGE, RWF_ATOMIC);
}

static ssize_t share_here(void *arg)
{
	struct change *change = arg;

	return clone_range(change->fd, change->other, 0, LONG - MiB, 0);
}

static ssize_t share_elsewhere(void *arg)
{
	struct change *change = arg;

	return clone_range(change->fd, change->other, 0, LONG - MiB, PAGE);
}

static ssize_t truncate_all(void *arg)
{
	return ftruncate(((struct change *)arg)->fd, PAGE);
}

static ssize_t punch_all(void *arg)
{
	return fallocate(((struct change *)arg)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 PAGE, LONG);
}

static ssize_t zero_all(void *arg)
{
	return fallocate(((struct change *)arg)->fd, FALLOC_FL_ZERO_RANGE, PAGE, LONG);
}

/* Some of the changes are of regular files alone. */
FIXTURE(change) {
};

FIXTURE_SETUP(change)
{
}

FIXTURE_TEARDOWN(change)
{
}

TEST_F(change, that_is_long_leaves_others_their_time)
{
	struct change changes[] = {
		{ .name = "RWF_ATOMIC", .make = atomic_write, .wanted = LONG },
		{ .name = "RWF_ATOMIC, over", .make = atomic_write, .wanted = LONG, .filled = true },
		{ .name = "FICLONERANGE", .make = share_here, .filled = true },
		{ .name = "FICLONERANGE elsewhere", .make = share_elsewhere, .filled = true },
		{ .name = "truncate", .make = truncate_all, .filled = true },
		{ .name = "PUNCH_HOLE", .make = punch_all, .filled = true },
		{ .name = "ZERO_RANGE", .make = zero_all, .filled = true },
	};
	char *memory = fresh_memory(LONG);
	int other = open_file(O_RDWR);

	ASSERT_NE(NULL, memory);
	memset(memory, 1, LONG);
	ASSERT_EQ(LONG, write(other, memory, LONG));
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct change *change = &changes[i];
		struct held held;

		change->fd = open_file(O_RDWR);
		change->other = other;
		change->memory = memory;
		ASSERT_LE(0, change->fd);
		ASSERT_EQ(PAGE, pwrite(change->fd, memory, PAGE, 0));
		if (change->filled)
			ASSERT_EQ(LONG, pwrite(change->fd, memory, LONG, 0));
		held = hold(change->fd, change->make, change);
		EXPECT_SHORT_WAITS(change->name, held, change->wanted);
		close(change->fd);
	}
	close(other);
	munmap(memory, LONG);
}

/* A whole file, and what is at the same offset: the nodes are shared, not the pages one by one. */
TEST_F(change, by_ficlone_takes_as_long_for_any_length)
{
	const long long lens[2] = { MiB, 64 * MiB };
	char *memory = fresh_memory(64 * MiB);
	long long took[2];

	ASSERT_NE(NULL, memory);
	memset(memory, 1, 64 * MiB);
	for (int i = 0; i < 2; i++) {
		int from = open_file(O_RDWR), to[TRIES];

		for (size_t j = 0; j < ARRAY_LEN(to); j++)
			to[j] = open_file(O_RDWR);
		ASSERT_EQ(lens[i], write(from, memory, lens[i]));
		took[i] = LEAST_NS(j, ASSERT_EQ(0, ioctl(to[j], FICLONE, from)));
		for (size_t j = 0; j < ARRAY_LEN(to); j++) {
			ASSERT_EQ(lens[i], length_of(to[j]));
			close(to[j]);
		}
		close(from);
	}
	TH_LOG("1 MiB: %lld us, 64 MiB: %lld us", took[0] / 1000, took[1] / 1000);
	EXPECT_LT(took[1], 2 * took[0]);
	munmap(memory, 64 * MiB);
}

/* ---- mappings ---- */

#define MAPPED (16 * MiB)

static ssize_t cut_off_all(void *fd)
{
	return set_length(*(int *)fd, 0);
}

TEST_F(others, go_on_while_mappings_are_undone)
{
	char *memories[8];
	struct held held;

	ASSERT_EQ(MAPPED, put_at(self->fd, 0, MAPPED, ZEROS));
	for (size_t i = 0; i < ARRAY_LEN(memories); i++) {
		memories[i] = mmap(NULL, MAPPED, PROT_READ, MAP_SHARED, self->fd, 0);
		ASSERT_NE(MAP_FAILED, memories[i]);
		ASSERT_EQ(0, madvise(memories[i], MAPPED, MADV_POPULATE_READ));
	}
	held = hold(self->fd, cut_off_all, &self->fd);
	EXPECT_SHORT_WAITS("truncate, mapped", held, 0);
	for (size_t i = 0; i < ARRAY_LEN(memories); i++)
		munmap(memories[i], MAPPED);
}

/* Stores to mappings all the while. */
struct storer {
	char *memories[8];
	atomic_int over;
};

static void *store_on(void *arg)
{
	struct storer *storer = arg;

	pin_to(1);
	while (!storer->over) {
		for (size_t i = 0; i < ARRAY_LEN(storer->memories); i++)
			++*(volatile char *)storer->memories[i];
		usleep(200);
	}
	return NULL;
}

static ssize_t clone_it(void *fd)
{
	return close(open_clone(*(int *)fd, O_RDWR));
}

/* One that stores must not make readers wait, either. */
TEST_F(others, go_on_while_memory_in_use_is_cloned)
{
	struct storer storer = {};
	pthread_t thread;
	struct held held;

	ASSERT_EQ(0, set_length(self->fd, MAPPED));
	for (size_t i = 0; i < ARRAY_LEN(storer.memories); i++) {
		storer.memories[i] = map_ram(self->fd, MAPPED);
		ASSERT_NE(NULL, storer.memories[i]);
		ASSERT_EQ(0, madvise(storer.memories[i], MAPPED, MADV_POPULATE_WRITE));
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, store_on, &storer));
	held = hold(self->fd, clone_it, &self->fd);
	storer.over = 1;
	pthread_join(thread, NULL);
	EXPECT_SHORT_WAITS("CLONE, mapped", held, 0);
	for (size_t i = 0; i < ARRAY_LEN(storer.memories); i++)
		munmap(storer.memories[i], MAPPED);
}

/* ---- readers ---- */

static ssize_t pass_all(void *fd)
{
	char byte;

	lseek(*(int *)fd, -1, SEEK_END);
	return read(*(int *)fd, &byte, 1);
}

TEST_F(others, go_on_while_much_is_drained)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct held held;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	/* Pages of their own take longer to free than runs. At the end they would be runs. */
	ASSERT_EQ(0, set_length(self->fd, 96 * MiB));
	for (long long pos = 0; pos < 96 * MiB; pos += PAGE)
		ASSERT_EQ(PAGE, put_at(self->fd, pos, PAGE, ZEROS));
	held = hold(self->fd, pass_all, &reader);
	EXPECT_SHORT_WAITS("read, all is drained", held, 1);
	EXPECT_EQ(0, info_of(self->fd).allocated);
	close(reader);
}

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
TEST_F(others, read_while_a_reader_stands_still)
{
	struct copier copier = { .fd = self->fd, .memory = fresh_memory(MiB) };
	int reader = open_handle(self->fd, O_RDONLY), at_once = 0;
	pthread_t thread;
	char byte;

	ASSERT_LT(1, sysconf(_SC_NPROCESSORS_ONLN));
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
	EXPECT_EQ(10, at_once);
	munmap(copier.memory, MiB);
	close(reader);
}

TEST_HARNESS_MAIN
