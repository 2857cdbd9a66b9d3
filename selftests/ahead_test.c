// SPDX-License-Identifier: GPL-2.0
/*
 * Short writes at the end of a long stream, for which memory is put there ahead of them. They change only
 * the length, while others read. rust/stream/append.rs says when.
 */
#include <linux/falloc.h>
#include <sys/epoll.h>

#include "harness.h"
#include "groups.h"
#include "ram.h"

/* The streams here begin with as much: APPEND_FROM in rust/stream/append.rs. */
#define LONG MiB
/* What is put ahead ends with a run: RUN_BYTES in rust/sized_buffer/spare.rs. */
#define RUN (16 * PAGE)

STREAM_FIXTURE(ahead)

static long long allocated(int fd)
{
	return info_of(fd).allocated;
}

/* Whether the stream holds memory for its bytes, and for no more. */
static bool has_nothing_ahead(int fd)
{
	struct qemufile_info info = info_of(fd);

	return (long long)info.allocated == ((long long)info.length + PAGE - 1) / PAGE * PAGE;
}

/* Makes the stream a long one, and appends @len bytes: there is memory ahead then. */
#define APPEND(len) do {								\
	ASSERT_EQ(LONG, put_at(self->fd, 0, LONG, 1));					\
	ASSERT_EQ(LONG, allocated(self->fd));						\
	ASSERT_EQ(len, put_at(self->fd, LONG, len, 1));					\
	ASSERT_EQ(LONG + RUN, allocated(self->fd));					\
} while (0)

TEST_F(ahead, short_writes_at_the_end_fill_it)
{
	long long pos = LONG, most = 0;

	ASSERT_EQ(LONG, put_at(self->fd, 0, LONG, 1));
	for (unsigned int seed = 1; pos < 2 * LONG;) {
		long long len = draw(&seed, 3 * PAGE) + 1, more;

		ASSERT_EQ(len, put_at(self->fd, pos, len, 1));
		pos += len;
		ASSERT_EQ(pos, length_of(self->fd));
		more = allocated(self->fd) - (pos + PAGE - 1) / PAGE * PAGE;
		ASSERT_LE(0, more);
		ASSERT_GT(RUN, more);
		most = more > most ? more : most;
	}
	EXPECT_EQ(15 * PAGE, most);
	EXPECT_EQ(pos, right_at(self->fd, 0, pos, 1));
	EXPECT_EQ(0, right_at(self->fd, pos, 1, 1));
}

TEST_F(ahead, other_writes_have_none)
{
	char *bytes = malloc(LONG);

	ASSERT_NE(NULL, bytes);
	/* A short stream, a long write, a place before the end and one after it. */
	ASSERT_EQ(LONG - PAGE, put_at(self->fd, 0, LONG - PAGE, 1));
	ASSERT_EQ(PAGE, put_at(self->fd, LONG - PAGE, PAGE, 1));
	EXPECT_EQ(LONG, allocated(self->fd));
	ASSERT_EQ(LONG, pwrite(self->fd, fill(bytes, LONG, LONG, 1), LONG, LONG));
	ASSERT_EQ(PAGE, put_at(self->fd, PAGE, PAGE, 1));
	ASSERT_EQ(PAGE, put_at(self->fd, 4 * LONG, PAGE, 1));
	EXPECT_EQ(2 * LONG + PAGE, allocated(self->fd));
	free(bytes);
}

/* Nobody is about to write on then. */
TEST_F(ahead, goes_with_the_last_writer)
{
	int reader = open_handle(self->fd, O_RDONLY), writer;

	ASSERT_LE(0, reader);
	APPEND(100);
	writer = open_handle(self->fd, O_WRONLY);
	ASSERT_LE(0, writer);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(LONG + RUN, allocated(reader));
	ASSERT_EQ(0, close(writer));
	EXPECT_TRUE(has_nothing_ahead(reader));
	EXPECT_EQ(LONG + 100, right_at(reader, 0, LONG + PAGE, 1));
	self->fd = reader;
}

TEST_F(ahead, goes_with_a_seal)
{
	APPEND(100);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	EXPECT_TRUE(has_nothing_ahead(self->fd));
}

TEST_F(ahead, goes_with_a_limit)
{
	APPEND(100);
	ASSERT_EQ(0, set_limit(self->fd, LONG + PAGE));
	EXPECT_TRUE(has_nothing_ahead(self->fd));
	/* No more than may be written. */
	ASSERT_EQ(PAGE - 100, put_at(self->fd, LONG + 100, PAGE - 100, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(self->fd, "x", 1, LONG + PAGE)));
	EXPECT_EQ(LONG + PAGE, allocated(self->fd));
	ASSERT_EQ(0, set_limit(self->fd, LONG + 3 * PAGE));
	ASSERT_EQ(100, put_at(self->fd, LONG + PAGE, 100, 1));
	EXPECT_GE(LONG + 3 * PAGE, allocated(self->fd));
	/* A little stream keeps nothing. */
	ASSERT_EQ(0, set_limit(self->fd, LONG / 2));
	EXPECT_TRUE(has_nothing_ahead(self->fd));
}

TEST_F(ahead, is_not_shared_with_a_clone)
{
	int clone;

	APPEND(100);
	clone = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, clone);
	EXPECT_TRUE(has_nothing_ahead(self->fd));
	EXPECT_TRUE(has_nothing_ahead(clone));
	EXPECT_EQ(5 * PAGE, put_at(self->fd, LONG + 100, 5 * PAGE, 1));
	EXPECT_EQ(3 * PAGE, put_at(clone, LONG + 100, 3 * PAGE, 2));
	EXPECT_EQ(LONG + 100 + 5 * PAGE, right_at(self->fd, 0, 2 * LONG, 1));
	EXPECT_EQ(LONG + 100, right_at(clone, 0, LONG + 100, 1));
	EXPECT_EQ(3 * PAGE, right_at(clone, LONG + 100, LONG, 2));
	close(clone);
}

/* What was asked for stays, whatever was there ahead of writes before. */
TEST_F(ahead, is_not_what_was_reserved)
{
	int reader = open_handle(self->fd, O_RDONLY), file = open_handle(self->fd, O_RDWR);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, file);
	APPEND(100);
	ASSERT_EQ(0, fallocate(file, FALLOC_FL_KEEP_SIZE, LONG, RUN));
	ASSERT_EQ(PAGE, put_at(self->fd, LONG + 100, PAGE, 1));
	ASSERT_EQ(0, close(file));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(LONG + RUN, allocated(reader));
	self->fd = reader;
}

TEST_F(ahead, is_a_hole_if_the_stream_grows_otherwise)
{
	APPEND(100);
	ASSERT_EQ(0, set_length(self->fd, 2 * LONG));
	EXPECT_EQ(LONG + PAGE, allocated(self->fd));
	EXPECT_EQ(LONG + PAGE, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(LONG - 100, right_at(self->fd, LONG + 100, LONG, ZEROS));
	ASSERT_EQ(0, set_length(self->fd, LONG + 100));
	ASSERT_EQ(100, put_at(self->fd, LONG + 100, 100, 1));
	ASSERT_EQ(PAGE, put_at(self->fd, 2 * LONG, PAGE, 1));
	EXPECT_EQ(LONG + PAGE, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(LONG - 200, right_at(self->fd, LONG + 200, LONG - 200, ZEROS));
}

/* What is ahead may be memory that was kept of what was drained. */
TEST_F(ahead, shows_nothing_of_what_was_drained)
{
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(2 * LONG, put_at(self->fd, 0, 2 * LONG, 1));
	ASSERT_EQ(LONG, take(reader, LONG, 0, 1));
	for (long long pos = 2 * LONG; pos < 3 * LONG; pos += RUN) {
		ASSERT_EQ(PAGE + 100, put_at(self->fd, pos, 100, 1) + put_at(self->fd, pos + 100, PAGE, 1));
		ASSERT_EQ(0, set_length(self->fd, pos + RUN));
		ASSERT_EQ(PAGE + 100, right_at(self->fd, pos, PAGE + 100, 1));
		ASSERT_EQ(RUN - PAGE - 100, right_at(self->fd, pos + PAGE + 100, RUN, ZEROS));
	}
	close(reader);
}

/* What gives memory back, as the figures tell it, frees it: a task of a memory group. */
struct giver {
	int (*open)(int flags);
	bool (*give_back)(int fd, int i);
	long long told, used;
};

#define GIVEN 200

static int give_back_in_group(struct giver *giver)
{
	static int fds[GIVEN];
	long long before;

	if (!put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	for (int i = 0; i < GIVEN; i++)
		if ((fds[i] = giver->open(O_RDWR)) < 0 || set_length(fds[i], LONG))
			return 2;
	before = get_number(GROUP "/memory.current");
	for (int i = 0; i < GIVEN; i++) {
		if (!giver->give_back(fds[i], i))
			return 3;
		giver->told += allocated(fds[i]);
	}
	giver->used = get_number(GROUP "/memory.current") - before;
	return 0;
}

/* Short records, each with memory ahead that is removed. */
static bool append_and_clone(int fd, int i)
{
	for (long long pos = LONG; pos < LONG + RUN; pos += PAGE + i % 2) {
		int clone;

		if (put_at(fd, pos, PAGE + i % 2, 1) != PAGE + i % 2)
			return false;
		clone = open_clone(fd, O_RDONLY);
		if (clone < 0 || close(clone))
			return false;
	}
	return true;
}

static bool append_and_limit(int fd, int i)
{
	for (long long pos = LONG; pos < LONG + 8 * RUN; pos += RUN)
		if (set_length(fd, pos) || put_at(fd, pos, i % PAGE, 1) != i % PAGE || set_limit(fd, LONG + GiB))
			return false;
	return true;
}

static bool write_and_punch(int fd, int i)
{
	for (long long pos = 0; pos < 8 * RUN; pos += RUN)
		if (put_at(fd, pos, RUN, 1) != RUN || punch(fd, pos + PAGE * (i % 16), RUN - PAGE - i % 5) ||
		    right_at(fd, pos, PAGE * (i % 16), 1) != PAGE * (i % 16))
			return false;
	return true;
}

static bool write_and_shorten(int fd, int i)
{
	return put_at(fd, LONG, RUN, 1) == RUN && !set_length(fd, LONG + 1 + i % PAGE) &&
	       right_at(fd, LONG, RUN, 1) == 1 + i % PAGE;
}

static void check_giver(struct __test_metadata *_metadata, int (*open)(int flags),
			bool (*give_back)(int fd, int i))
{
	struct giver *giver = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;

	*giver = (struct giver){ .open = open, .give_back = give_back };
	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0)
		_exit(give_back_in_group(giver));
	EXPECT_EQ(0, status_of(child));
	TH_LOG("told %lld, used %lld", giver->told, giver->used);
	/* With the trees and the streams, and what a processor has charged in advance. */
	EXPECT_GT(giver->told + giver->told / 8 + GIVEN * 8 * KiB + MiB, giver->used);
	remove_group();
	munmap(giver, PAGE);
}

TEST_F(ahead, is_free_after_a_clone)
{
	check_giver(_metadata, variant->open, append_and_clone);
}

TEST_F(ahead, is_free_after_a_limit)
{
	check_giver(_metadata, variant->open, append_and_limit);
}

/* The same for runs that a write filled: what is left of one does not keep all of it. */
STREAM_FIXTURE(run)

TEST_F(run, of_which_a_hole_leaves_a_part_is_freed)
{
	check_giver(_metadata, variant->open, write_and_punch);
}

TEST_F(run, of_which_an_end_leaves_a_part_is_freed)
{
	check_giver(_metadata, variant->open, write_and_shorten);
}

/* The bytes before the one that faults count, and nothing shows of the others. */
TEST_F(ahead, ends_at_the_first_byte_that_faults)
{
	char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, munmap(memory + 2 * PAGE, 2 * PAGE));
	APPEND(100);
	for (long long good = 1; good < 2 * PAGE; good += 1234) {
		char *start = memory + 2 * PAGE - good;
		long long end = length_of(self->fd);

		fill(start, good, end, 1);
		EXPECT_EQ(good, pwrite(self->fd, start, good + 100, end));
		EXPECT_EQ(end + good, length_of(self->fd));
		EXPECT_EQ(EFAULT, ERRNO_OF(pwrite(self->fd, memory + 2 * PAGE, 100, end + good)));
		EXPECT_EQ(end + good, length_of(self->fd));
		/* As zeros. */
		ASSERT_EQ(0, set_length(self->fd, end + good + 2 * PAGE));
		EXPECT_EQ(2 * PAGE, right_at(self->fd, end + good, 2 * PAGE, ZEROS));
		ASSERT_EQ(0, set_length(self->fd, end + good));
		EXPECT_EQ(end + good, right_at(self->fd, 0, end + good, 1));
	}
	munmap(memory, 2 * PAGE);
}

TEST_F(ahead, shows_in_a_mapping_as_it_is_filled)
{
	char *memory = mmap(NULL, 2 * LONG, PROT_READ, MAP_SHARED, self->fd, 0);

	ASSERT_NE(MAP_FAILED, memory);
	APPEND(100);
	EXPECT_EQ(100, right(memory + LONG, 100, LONG, 1));
	for (long long pos = LONG + 100; pos < LONG + 2 * RUN; pos += 1000) {
		ASSERT_EQ(1000, put_at(self->fd, pos, 1000, 1));
		ASSERT_EQ(1000, right(memory + pos, 1000, pos, 1));
	}
	EXPECT_EQ(SIGBUS, touch(memory + LONG + 4 * RUN, false));
	munmap(memory, 2 * LONG);
}

/* A reader and a writer, which wait for each other more often than not. */
struct live {
	int writer, reader;
	long long bytes;
	atomic_llong moved;
	int wrong;
};

static void pause_at(unsigned int *seed)
{
	if (draw(seed, 40) == 0)
		usleep(draw(seed, 300));
}

static void *write_live(void *arg)
{
	struct live *live = arg;
	unsigned int seed = 3;
	char bytes[3 * PAGE];

	for (long long pos = 0; pos < live->bytes;) {
		ssize_t len = draw(&seed, sizeof(bytes)) + 1, done = 0;

		fill(bytes, len, pos, 1);
		while (done < len) {
			ssize_t more = write(live->writer, bytes + done, len - done);

			if (more <= 0)
				return NULL;
			done += more;
		}
		pos += len;
		pause_at(&seed);
	}
	close(live->writer);
	return NULL;
}

static void *read_live(void *arg)
{
	struct live *live = arg;
	unsigned int seed = 5;
	char bytes[4 * PAGE];
	long long pos = 0;
	ssize_t got;

	while ((got = read(live->reader, bytes, draw(&seed, sizeof(bytes)) + 1)) > 0) {
		live->wrong += right(bytes, got, pos, 1) != got;
		live->moved = pos += got;
		pause_at(&seed);
	}
	return NULL;
}

static void *read_at_once(void *arg)
{
	struct live *live = arg;
	static char bytes[LONG];
	long long pos = 0;
	ssize_t got;

	while ((got = read(live->reader, bytes, sizeof(bytes))) > 0) {
		live->wrong += right(bytes, got, pos, 1) != got;
		live->moved = pos += got;
	}
	return NULL;
}

static void run_live(struct __test_metadata *_metadata, int stream, long long limit)
{
	struct live live = { .bytes = 24 * MiB };
	pthread_t threads[2];
	long long before = -1;

	live.writer = open_handle(stream, O_WRONLY);
	live.reader = open_handle(stream, O_RDONLY);
	ASSERT_LE(0, live.writer);
	ASSERT_LE(0, live.reader);
	ASSERT_EQ(0, set_flags(stream, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(0, set_limit(stream, limit));
	ASSERT_EQ(0, close(stream));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, write_live, &live));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, read_live, &live));
	/* A wake-up that is missed is missed for good. */
	while (live.moved < live.bytes && live.moved != before) {
		before = live.moved;
		for (int ms = 0; ms < 5000 && live.moved == before; ms += 20)
			sleep_ms(20);
	}
	EXPECT_LE(live.bytes, live.moved);
	if (live.moved < live.bytes)
		_exit(KSFT_FAIL);
	EXPECT_EQ(0, pthread_join(threads[0], NULL));
	EXPECT_EQ(0, pthread_join(threads[1], NULL));
	EXPECT_EQ(0, live.wrong);
	close(live.reader);
}

TEST_F(ahead, a_reader_and_a_writer_wait_for_each_other)
{
	run_live(_metadata, self->fd, LONG);
	self->fd = -1;
}

TEST_F(ahead, a_reader_and_a_writer_wait_for_each_other_all_the_time)
{
	run_live(_metadata, self->fd, 5000);
	self->fd = -1;
}

/*
 * The reader has read all when a record comes, and is just about to sleep, or does already. Nothing comes
 * after it that would wake the reader.
 */
TEST_F(ahead, a_record_wakes_who_is_about_to_wait_for_it)
{
	struct live live = { .reader = open_handle(self->fd, O_RDONLY) };
	long long end = now_ms() + 4 * RACE_MS, pos = LONG;
	unsigned int seed = 1;
	pthread_t thread;

	ASSERT_LE(0, live.reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_FOLLOW));
	live.writer = open_handle(self->fd, O_WRONLY);
	ASSERT_LE(0, live.writer);
	ASSERT_EQ(LONG, put_at(self->fd, 0, LONG, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_at_once, &live));
	for (bool missed = false; now_ms() < end && !missed; pos += 100) {
		for (long long late = now_ms() + 10000; live.moved < pos && !missed;)
			missed = now_ms() > late;
		ASSERT_FALSE(missed);
		for (int spins = draw(&seed, 2000); spins > 0; spins--)
			__asm__ volatile("");
		ASSERT_EQ(100, put_at(live.writer, pos, 100, 1));
	}
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(pos, live.moved);
	EXPECT_EQ(0, live.wrong);
	close(live.writer);
	close(live.reader);
}

static void *write_at_once(void *arg)
{
	struct live *live = arg;
	char bytes[100];

	for (long long pos = 0; pos < live->bytes;) {
		ssize_t done = write(live->writer, fill(bytes, 100, pos, 1), 100);

		if (done <= 0)
			break;
		live->moved = pos += done;
	}
	return NULL;
}

/* The same for a writer: the stream is full when room is made, and nobody makes room after that. */
TEST_F(ahead, room_wakes_who_is_about_to_wait_for_it)
{
	const long long limit = (LONG / 100 + 1) * 100;
	struct live live = { .bytes = INT64_MAX };
	long long end = now_ms() + 4 * RACE_MS, pos = 0;
	unsigned int seed = 1;
	pthread_t thread;
	char bytes[100];

	live.writer = open_handle(self->fd, O_WRONLY);
	live.reader = open_handle(self->fd, O_RDONLY);
	ASSERT_LE(0, live.writer);
	ASSERT_LE(0, live.reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(0, set_limit(self->fd, limit));
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_at_once, &live));
	for (bool missed = false; now_ms() < end && !missed; pos += 100) {
		for (long long late = now_ms() + 10000; live.moved < pos + limit && !missed;)
			missed = now_ms() > late;
		ASSERT_FALSE(missed);
		for (int spins = draw(&seed, 2000); spins > 0; spins--)
			__asm__ volatile("");
		ASSERT_EQ(100, read(live.reader, bytes, 100));
		ASSERT_EQ(100, right(bytes, 100, pos, 1));
	}
	/* Without readers a full stream fails a write. */
	close(live.reader);
	EXPECT_EQ(0, pthread_join(thread, NULL));
	close(live.writer);
}

/* Each write is an edge, and none is lost between a look and the wait. */
TEST_F(ahead, each_write_wakes_a_poller)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int reader = open_handle(self->fd, O_RDONLY), epoll = epoll_create1(EPOLL_CLOEXEC);
	char bytes[PAGE];

	ASSERT_LE(0, reader);
	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, fcntl(reader, F_SETFL, O_NONBLOCK));
	APPEND(100);
	ASSERT_EQ(LONG + 100, take(reader, LONG + 100, 0, 1));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, reader, &event));
	for (long long pos = LONG + 100; pos < LONG + 3 * RUN; pos += 777) {
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
		ASSERT_EQ(777, put_at(self->fd, pos, 777, 1));
		EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 5000));
		ASSERT_EQ(777, read(reader, bytes, PAGE));
		EXPECT_EQ(777, right(bytes, 777, pos, 1));
	}
	close(epoll);
	close(reader);
}

/* Writers at places one after the other, the first of which is at the end. */
struct neighbour {
	int fd;
	long long first, step;
	int failed;
};

static void *write_next_to_others(void *arg)
{
	struct neighbour *neighbour = arg;

	for (long long pos = neighbour->first; pos < 8 * MiB; pos += neighbour->step)
		neighbour->failed += put_at(neighbour->fd, pos, 3000, 1) != 3000;
	return NULL;
}

TEST_F(ahead, writers_fill_it_together)
{
	struct neighbour neighbours[3];
	pthread_t threads[3];
	struct stat stat;
	long long end;

	ASSERT_EQ(LONG, put_at(self->fd, 0, LONG, 1));
	for (int i = 0; i < 3; i++) {
		neighbours[i] = (struct neighbour){
			.fd = self->fd, .first = LONG + 3000 * i, .step = 3 * 3000,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, write_next_to_others, &neighbours[i]));
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_EQ(0, neighbours[i].failed);
	}
	end = length_of(self->fd);
	EXPECT_LE(8 * MiB, end);
	EXPECT_EQ(end, right_at(self->fd, 0, end + 1, 1));
	ASSERT_EQ(0, fstat(self->fd, &stat));
	if (S_ISREG(stat.st_mode))
		EXPECT_EQ(end, stat.st_size);
}

TEST_HARNESS_MAIN
