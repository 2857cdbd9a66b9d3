// SPDX-License-Identifier: GPL-2.0
/*
 * Writes of one stream at once. Those that do not overlap do not wait for each other. Those that
 * overlap are done one after the other. Whatever changes more than bytes waits for all of them.
 */
#include "harness.h"

STREAM_FIXTURE(parallel)

/* A write in a thread of its own. */
struct pending_write {
	int fd;
	char *memory;
	off_t pos;
	ssize_t result;
	atomic_int done;
	pthread_t thread;
};

static void *do_pending_write(void *arg)
{
	struct pending_write *call = arg;

	call->result = pwrite(call->fd, call->memory, 2 * PAGE, call->pos);
	call->done = 1;
	return NULL;
}

/* Starts a write of two pages at @pos that waits for its memory; -1 if it cannot. */
static int start_slow_write(struct pending_write *call, int fd, off_t pos)
{
	struct pollfd poll_fd = { .events = POLLIN };
	int uffd;

	*call = (struct pending_write){ .fd = fd, .pos = pos };
	uffd = slow_memory(&call->memory, 2 * PAGE);
	poll_fd.fd = uffd;
	if (uffd < 0 || pthread_create(&call->thread, NULL, do_pending_write, call) ||
	    poll(&poll_fd, 1, 5000) != 1)
		return -1;
	return uffd;
}

static bool finish_slow_write(struct pending_write *call, int uffd)
{
	bool came = bring(uffd, call->memory, call->pos) &&
		    bring(uffd, call->memory + PAGE, call->pos + PAGE);

	came = is_set_within(&call->done, 5000) && came;
	pthread_join(call->thread, NULL);
	close(uffd);
	return came && call->result == 2 * PAGE;
}

TEST_F(parallel, a_write_that_waits_for_its_source_holds_up_no_write_elsewhere)
{
	struct pending_write call;
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	int uffd = start_slow_write(&call, self->fd, 4 * PAGE);

	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	EXPECT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	EXPECT_EQ(4 * PAGE, put_at(self->fd, 6 * PAGE, 4 * PAGE, 1));
	EXPECT_EQ(1, pwritev2(self->fd, &iov, 1, 10 * PAGE, RWF_NOWAIT));
	EXPECT_EQ(10 * PAGE + 1, length_of(self->fd));
	EXPECT_EQ(0, call.done);
	EXPECT_TRUE(finish_slow_write(&call, uffd));
	EXPECT_EQ(10 * PAGE, right_at(self->fd, 0, 10 * PAGE, 1));
	EXPECT_EQ(10 * PAGE + 1, length_of(self->fd));
}

/* The table of ranges has an end, and waiting begins there. */
TEST_F(parallel, many_writes_that_wait_hold_up_none_that_they_should_not)
{
	struct pending_write calls[15];
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	int uffds[15];

	for (int i = 0; i < 15; i++) {
		uffds[i] = start_slow_write(&calls[i], self->fd, 4 * i * PAGE);
		if (uffds[i] < 0)
			SKIP(return, "no userfaultfd");
	}
	EXPECT_EQ(1, pwritev2(self->fd, &iov, 1, 2 * PAGE, RWF_NOWAIT));
	EXPECT_EQ(1, pwrite(self->fd, "x", 1, 6 * PAGE));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 57 * PAGE, RWF_NOWAIT)));
	for (int i = 0; i < 15; i++) {
		EXPECT_TRUE(finish_slow_write(&calls[i], uffds[i]));
		EXPECT_EQ(2 * PAGE, right_at(self->fd, 4 * i * PAGE, 2 * PAGE, 1));
	}
}

/* Where a write goes to an append-only stream depends on all writes before. */
struct pending_change {
	int fd;
	atomic_int tid, done;
};

static void *set_length_in_turn(void *arg)
{
	struct pending_change *change = arg;

	change->tid = my_tid();
	if (!set_length(change->fd, 7 * PAGE))
		change->done = 1;
	return NULL;
}

static void *write_in_turn(void *arg)
{
	struct pending_change *change = arg;

	change->tid = my_tid();
	if (put_at(change->fd, 7 * PAGE, PAGE, 1) == PAGE)
		change->done = 1;
	return NULL;
}

/* Writers that come all the time do not keep out who waits for all of them. */
TEST_F(parallel, whoever_waits_for_all_writers_is_passed_by_none)
{
	struct pending_change resize = { .fd = self->fd }, write = { .fd = self->fd };
	struct pending_write call;
	pthread_t resizer, writer;
	int uffd;

	ASSERT_EQ(8 * PAGE, put_at(self->fd, 0, 8 * PAGE, 1));
	uffd = start_slow_write(&call, self->fd, 0);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(0, pthread_create(&resizer, NULL, set_length_in_turn, &resize));
	ASSERT_TRUE(is_set_within(&resize.tid, 5000) && sleeps_in(resize.tid, SYS_ioctl));
	ASSERT_EQ(0, pthread_create(&writer, NULL, write_in_turn, &write));
	ASSERT_TRUE(is_set_within(&write.tid, 5000) && sleeps_in(write.tid, SYS_pwrite64));
	EXPECT_EQ(0, resize.done + write.done);
	EXPECT_TRUE(finish_slow_write(&call, uffd));
	EXPECT_TRUE(is_set_within(&resize.done, 5000));
	EXPECT_TRUE(is_set_within(&write.done, 5000));
	pthread_join(resizer, NULL);
	pthread_join(writer, NULL);
	/* The length was set before. */
	EXPECT_EQ(8 * PAGE, length_of(self->fd));
	EXPECT_EQ(8 * PAGE, right_at(self->fd, 0, 8 * PAGE, 1));
}

TEST_F(parallel, writes_of_an_append_only_stream_take_turns)
{
	struct pending_write call;
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_APPEND };
	int uffd;

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	uffd = start_slow_write(&call, self->fd, 0);
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 4 * PAGE, RWF_NOWAIT)));
	EXPECT_TRUE(finish_slow_write(&call, uffd));
	EXPECT_EQ(1, pwritev2(self->fd, &iov, 1, 4 * PAGE, RWF_NOWAIT));
	EXPECT_EQ(EPERM, ERRNO_OF(pwrite(self->fd, "x", 1, 4 * PAGE)));
}

/* Threads of one stream, until it is time to stop. */
struct writer {
	int fd;
	int number;
	atomic_int *over;
	long long bad;
	pthread_t thread;
};

static bool run_writers(struct writer *writers, int count, int fd, void *(*run)(void *),
			atomic_int *over)
{
	for (int i = 0; i < count; i++) {
		writers[i] = (struct writer){ .fd = fd, .number = i, .over = over };
		if (pthread_create(&writers[i].thread, NULL, run, &writers[i]))
			return false;
	}
	return true;
}

static long long join_writers(struct writer *writers, int count)
{
	long long bad = 0;

	for (int i = 0; i < count; i++) {
		pthread_join(writers[i].thread, NULL);
		bad += writers[i].bad;
	}
	return bad;
}

#define AREA (300 * PAGE + 123)

/* Writes to an area of its own, in pieces of all sizes, and reads back what it wrote. */
static void *write_own_area(void *arg)
{
	struct writer *writer = arg;
	static __thread unsigned char bytes[40 * 4096];
	unsigned int seed = writer->number + 7;
	off_t area = (off_t)writer->number * AREA;

	pin_to(writer->number);
	for (int round = 1; !atomic_load(writer->over); round++) {
		off_t pos = draw(&seed, AREA);
		size_t len = 1 + draw(&seed, draw(&seed, 4) ? 5000 : sizeof(bytes) - 1);

		if (draw(&seed, 3) == 0)
			pos -= pos % PAGE;
		if (draw(&seed, 3) == 0)
			len = (len + PAGE - 1) / PAGE * PAGE;
		if (len > (size_t)(AREA - pos))
			len = AREA - pos;
		fill(bytes, len, pos, round % 200 + 1);
		if (pwrite(writer->fd, bytes, len, area + pos) != (ssize_t)len ||
		    pread(writer->fd, bytes, len, area + pos) != (ssize_t)len ||
		    right(bytes, len, pos, round % 200 + 1) != (long long)len)
			writer->bad++;
	}
	return NULL;
}

TEST_F(parallel, each_writer_finds_its_own_bytes)
{
	struct writer writers[4];
	atomic_int over = 0;

	ASSERT_TRUE(run_writers(writers, 4, self->fd, write_own_area, &over));
	/* Clones make pages shared, so that writers get new ones. */
	for (long long end = now_ms() + 2 * RACE_MS; now_ms() < end; sleep_ms(3)) {
		int clone = open_clone(self->fd, O_RDWR);

		EXPECT_LE(0, clone);
		sleep_ms(1);
		close(clone);
	}
	over = 1;
	EXPECT_EQ(0, join_writers(writers, 4));
}

#define SHARED_LEN (96 * PAGE)

/* Fills the same bytes as others do, each time with another number. */
static void *fill_shared(void *arg)
{
	struct writer *writer = arg;
	char *bytes = malloc(SHARED_LEN);

	pin_to(writer->number);
	for (int round = 0; round == 0 || !atomic_load(writer->over); round++) {
		memset(bytes, 3 * round + writer->number, SHARED_LEN);
		writer->bad += pwrite(writer->fd, bytes, SHARED_LEN, 0) != SHARED_LEN;
	}
	free(bytes);
	return NULL;
}

TEST_F(parallel, writes_that_overlap_are_not_mixed)
{
	static unsigned char bytes[SHARED_LEN];
	long long end = now_ms() + RACE_MS;

	do {
		struct writer writers[3];
		atomic_int over = 0;

		ASSERT_TRUE(run_writers(writers, 3, self->fd, fill_shared, &over));
		sleep_ms(10);
		over = 1;
		EXPECT_EQ(0, join_writers(writers, 3));
		ASSERT_EQ(SHARED_LEN, pread(self->fd, bytes, SHARED_LEN, 0));
		for (int i = 1; i < SHARED_LEN; i++) {
			ASSERT_EQ(bytes[0], bytes[i]);
		}
	} while (now_ms() < end);
}

/* What a pipe was given stays as it is, though a thread writes over it in place all the while. */
TEST_F(parallel, pages_that_are_lent_do_not_change)
{
	unsigned char bytes[4 * 4096], again[sizeof(bytes)];
	struct writer writer;
	atomic_int over = 0;
	int ends[2], lent = 0;

	ASSERT_EQ(SHARED_LEN, put_at(self->fd, 0, SHARED_LEN, 1));
	ASSERT_EQ(0, pipe(ends));
	ASSERT_TRUE(run_writers(&writer, 1, self->fd, fill_shared, &over));
	for (long long end = now_ms() + RACE_MS; now_ms() < end; lent++) {
		loff_t pos = lent % 20 * PAGE;
		int copy[2];

		ASSERT_EQ(0, pipe(copy));
		ASSERT_EQ((ssize_t)sizeof(bytes),
			  splice(self->fd, &pos, ends[1], NULL, sizeof(bytes), 0));
		/* The same pages twice: now, and later. */
		ASSERT_EQ((ssize_t)sizeof(bytes), tee(ends[0], copy[1], sizeof(bytes), 0));
		ASSERT_EQ((ssize_t)sizeof(bytes), read(ends[0], bytes, sizeof(bytes)));
		sleep_ms(1);
		ASSERT_EQ((ssize_t)sizeof(again), read(copy[0], again, sizeof(again)));
		ASSERT_EQ(0, memcmp(bytes, again, sizeof(bytes)));
		close(copy[0]);
		close(copy[1]);
	}
	EXPECT_LT(10, lent);
	over = 1;
	EXPECT_EQ(0, join_writers(&writer, 1));
}

/* Nor does a clone, once it is made. */
TEST_F(parallel, a_clone_does_not_change)
{
	static unsigned char bytes[SHARED_LEN], again[SHARED_LEN];
	struct writer writer;
	atomic_int over = 0;

	ASSERT_EQ(SHARED_LEN, put_at(self->fd, 0, SHARED_LEN, 1));
	ASSERT_TRUE(run_writers(&writer, 1, self->fd, fill_shared, &over));
	for (long long end = now_ms() + RACE_MS; now_ms() < end;) {
		int clone = open_clone(self->fd, O_RDONLY);

		ASSERT_LE(0, clone);
		ASSERT_EQ(SHARED_LEN, pread(clone, bytes, SHARED_LEN, 0));
		sleep_ms(1);
		ASSERT_EQ(SHARED_LEN, pread(clone, again, SHARED_LEN, 0));
		ASSERT_EQ(0, memcmp(bytes, again, SHARED_LEN));
		close(clone);
	}
	over = 1;
	EXPECT_EQ(0, join_writers(&writer, 1));
}

/* The length changes, holes come and go, and a seal ends it, under writers that fill pages. */
TEST_F(parallel, whatever_changes_more_than_bytes_waits_for_writers)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	struct qemufile_info before, after;
	struct writer writers[3];
	atomic_int over = 0;

	ASSERT_TRUE(run_writers(writers, 3, self->fd, fill_shared, &over));
	for (long long end = now_ms() + RACE_MS; now_ms() < end;) {
		struct qemufile_range range = { .start = 5 * PAGE, .length = 7 * PAGE };

		ASSERT_EQ(0, set_length(self->fd, 3 * PAGE + 5));
		ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_PUNCH, &range));
		ASSERT_EQ(0, set_length(self->fd, SHARED_LEN));
	}
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &before));
	EXPECT_EQ(EPERM, ERRNO_OF(pwrite(self->fd, "x", 1, 0)));
	over = 1;
	join_writers(writers, 3);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &after));
	EXPECT_EQ(before.allocated, after.allocated);
	EXPECT_EQ(SHARED_LEN, (long long)after.length);
}

TEST_HARNESS_MAIN
