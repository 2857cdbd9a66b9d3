// SPDX-License-Identifier: GPL-2.0
/*
 * Reads and writes whose memory is not simply there: what cannot be had ends
 * the call where it is met, what has yet to be brought in makes no difference.
 */

#include "harness.h"

STREAM_FIXTURE(fault)

/* Bytes before the fault, with the borders of pages and chunks among them. */
static const long long good_lens[] = {
	1, 100, PAGE - 1, PAGE, PAGE + 1, CHUNK - 5, CHUNK, NODE + 1, SLICE - 1, SLICE, SLICE + 77,
};

TEST_F(fault, a_write_whose_first_byte_faults_is_efault)
{
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	ASSERT_EQ(3, lseek(self->fd, 3, SEEK_SET));
	EXPECT_EQ(EFAULT, ERRNO_OF(write(self->fd, nowhere(), 1)));
	EXPECT_EQ(EFAULT, ERRNO_OF(write(self->fd, nowhere(), 3 * MiB)));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwrite(self->fd, nowhere(), 1, 100)));
	EXPECT_EQ(EFAULT, ERRNO_OF(write(self->fd, (void *)-4096L, 1)));
	EXPECT_EQ(3, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(10, length_of(self->fd));
	EXPECT_EQ(10, right_at(self->fd, 0, 10, 1));
	EXPECT_EQ(ENXIO, ERRNO_OF(lseek(self->fd, 10, SEEK_DATA)));
}

TEST_F(fault, a_write_ends_at_the_first_byte_that_faults)
{
	const long long starts[] = { 0, 1, PAGE - 1, NODE + 3 };

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(good_lens); j++) {
			int fd = variant->open(O_RDWR);
			long long pos = starts[i], good = good_lens[j];
			char *memory = memory_before_hole(good);

			ASSERT_LE(0, fd);
			ASSERT_NE(NULL, memory);
			fill(memory, good, pos, 1);
			/* The bytes after it are left alone. */
			ASSERT_EQ(200, put_at(fd, pos + good, 200, 2));
			ASSERT_EQ(pos, lseek(fd, pos, SEEK_SET));
			ASSERT_EQ(good, write(fd, memory, good + 100))
				TH_LOG("%lld bytes at %lld", good, pos);
			ASSERT_EQ(pos + good, lseek(fd, 0, SEEK_CUR));
			ASSERT_EQ(good, right_at(fd, pos, good, 1));
			ASSERT_EQ(200, right_at(fd, pos + good, 200, 2));
			ASSERT_EQ(pos + good + 200, length_of(fd));
			close(fd);
		}
	}
}

TEST_F(fault, a_write_that_extends_ends_at_the_first_byte_that_faults)
{
	for (size_t j = 0; j < ARRAY_LEN(good_lens); j++) {
		int fd = variant->open(O_RDWR);
		long long good = good_lens[j];
		char *memory = memory_before_hole(good);

		ASSERT_LE(0, fd);
		ASSERT_NE(NULL, memory);
		fill(memory, good, 5, 1);
		ASSERT_EQ(good, pwrite(fd, memory, good + 3 * MiB, 5));
		ASSERT_EQ(5 + good, length_of(fd));
		ASSERT_EQ(5, right_at(fd, 0, 5, ZEROS));
		ASSERT_EQ(good, right_at(fd, 5, good, 1));
		/* Nothing of what might have been copied after it. */
		ASSERT_EQ(1, put_at(fd, 5 + good + PAGE, 1, 1));
		ASSERT_EQ(PAGE, right_at(fd, 5 + good, PAGE, ZEROS));
		close(fd);
	}
}

TEST_F(fault, a_vector_that_faults_ends_a_write)
{
	char bytes[50];
	struct iovec iov[4] = {
		{ .iov_base = bytes, .iov_len = 30 },
		{ .iov_base = bytes + 30, .iov_len = 20 },
		{ .iov_base = nowhere(), .iov_len = 1 },
		{ .iov_base = bytes, .iov_len = 50 },
	};

	fill(bytes, 50, 0, 1);
	EXPECT_EQ(50, writev(self->fd, iov, 4));
	EXPECT_EQ(50, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(50, length_of(self->fd));
	EXPECT_EQ(50, right_at(self->fd, 0, 50, 1));
	EXPECT_EQ(EFAULT, ERRNO_OF(writev(self->fd, iov + 2, 2)));
	EXPECT_EQ(50, length_of(self->fd));
}

TEST_F(fault, a_read_whose_first_byte_faults_is_efault)
{
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(1, put_at(self->fd, MiB, 1, 1));
	ASSERT_EQ(3, lseek(self->fd, 3, SEEK_SET));
	EXPECT_EQ(EFAULT, ERRNO_OF(read(self->fd, nowhere(), 1)));
	EXPECT_EQ(EFAULT, ERRNO_OF(read(self->fd, nowhere(), MiB)));
	EXPECT_EQ(EFAULT, ERRNO_OF(read(self->fd, (void *)-4096L, 1)));
	/* Of a hole. */
	EXPECT_EQ(EFAULT, ERRNO_OF(pread(self->fd, nowhere(), 1, 10000)));
	/* At the end there is nothing that could fault. */
	EXPECT_EQ(0, pread(self->fd, nowhere(), 1, MiB + 1));
	EXPECT_EQ(3, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(fault, a_read_ends_at_the_first_byte_that_faults)
{
	const long long starts[] = { 0, 1, PAGE - 1, NODE + 3 };

	/* Data up to 3 MiB, and a hole to 6 MiB. */
	ASSERT_EQ(3 * MiB, put_at(self->fd, 0, 3 * MiB, 1));
	ASSERT_EQ(1, put_at(self->fd, 6 * MiB, 1, 1));
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(good_lens); j++) {
			long long pos = starts[i], good = good_lens[j];
			char *memory = memory_before_hole(good);

			ASSERT_NE(NULL, memory);
			ASSERT_EQ(pos, lseek(self->fd, pos, SEEK_SET));
			ASSERT_EQ(good, read(self->fd, memory, good + 100))
				TH_LOG("%lld bytes at %lld", good, pos);
			ASSERT_EQ(pos + good, lseek(self->fd, 0, SEEK_CUR));
			ASSERT_EQ(good, right(memory, good, pos, 1));
			pos += 3 * MiB;
			ASSERT_EQ(good, pread(self->fd, memory, good + 100, pos))
				TH_LOG("%lld bytes at %lld", good, pos);
			ASSERT_EQ(good, right(memory, good, pos, ZEROS));
		}
	}
}

TEST_F(fault, a_vector_that_faults_ends_a_read)
{
	char bytes[50], after[50] = {};
	struct iovec iov[4] = {
		{ .iov_base = bytes, .iov_len = 30 },
		{ .iov_base = bytes + 30, .iov_len = 20 },
		{ .iov_base = nowhere(), .iov_len = 1 },
		{ .iov_base = after, .iov_len = 50 },
	};

	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(50, readv(self->fd, iov, 4));
	EXPECT_EQ(50, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(50, right(bytes, 50, 0, 1));
	EXPECT_EQ(50, right(after, 50, 0, ZEROS));
}

TEST_F(fault, memory_must_allow_the_access)
{
	char *memory = fresh_memory(PAGE);

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	ASSERT_EQ(0, mprotect(memory, PAGE, PROT_READ));
	EXPECT_EQ(EFAULT, ERRNO_OF(read(self->fd, memory, PAGE)));
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, ZEROS));
	EXPECT_EQ(PAGE, write(self->fd, memory, PAGE));
	EXPECT_EQ(PAGE, right_at(self->fd, 0, PAGE, ZEROS));
	ASSERT_EQ(0, mprotect(memory, PAGE, PROT_NONE));
	EXPECT_EQ(EFAULT, ERRNO_OF(pread(self->fd, memory, PAGE, 0)));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwrite(self->fd, memory, PAGE, 0)));
}

TEST_F(fault, a_write_takes_memory_that_was_never_touched)
{
	char *memory = fresh_memory(2 * MiB);

	ASSERT_NE(NULL, memory);
	/* Nothing of the first half is there; of the second, every third page. */
	for (long long at = MiB; at < 2 * MiB; at += 3 * PAGE)
		fill(memory + at, PAGE, at, 1);
	ASSERT_EQ(2 * MiB, write(self->fd, memory, 2 * MiB));
	EXPECT_EQ(MiB, right_at(self->fd, 0, MiB, ZEROS));
	for (long long at = MiB; at < 2 * MiB; at += PAGE) {
		int seed = (at - MiB) % (3 * PAGE) ? ZEROS : 1;

		ASSERT_EQ(PAGE, right_at(self->fd, at, PAGE, seed));
	}
}

TEST_F(fault, a_read_fills_memory_that_was_never_touched)
{
	char *memory = fresh_memory(2 * MiB + PAGE);

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(2 * MiB, put_at(self->fd, 0, 2 * MiB, 1));
	ASSERT_EQ(2 * MiB, read(self->fd, memory + 77, 2 * MiB));
	EXPECT_EQ(2 * MiB, right(memory + 77, 2 * MiB, 0, 1));
	EXPECT_EQ(77, right(memory, 77, 0, ZEROS));
}

/* A file that has to be read in: this program's own. */
TEST_F(fault, a_write_takes_a_mapping_of_a_file)
{
	int file = open("/proc/self/exe", O_RDONLY);
	struct stat st;
	char *memory, *copy;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, fstat(file, &st));
	copy = fresh_memory(st.st_size);
	ASSERT_NE(NULL, copy);
	ASSERT_EQ(st.st_size, pread(file, copy, st.st_size, 0));
	EXPECT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
	memory = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
	ASSERT_NE(MAP_FAILED, memory);
	/* Straight from it, and across its end, where the last page goes on. */
	ASSERT_EQ(st.st_size, pwrite(self->fd, memory, st.st_size, 3));
	EXPECT_EQ(st.st_size, pread(self->fd, memory = fresh_memory(st.st_size), st.st_size, 3));
	EXPECT_EQ(0, memcmp(copy, memory, st.st_size));
	close(file);
}

/* Past the end of a mapped file there is nothing: SIGBUS for a load, a fault for a write. */
TEST_F(fault, a_write_ends_where_a_mapped_file_ends)
{
	int file = file_with(2 * PAGE, 1);
	char *memory;

	ASSERT_LE(0, file);
	memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(2 * PAGE, write(self->fd, memory, 4 * PAGE));
	EXPECT_EQ(2 * PAGE, right_at(self->fd, 0, 2 * PAGE, 1));
	EXPECT_EQ(2 * PAGE, pread(self->fd, memory, 2 * PAGE, 0));
	EXPECT_EQ(EFAULT, ERRNO_OF(write(self->fd, memory + 2 * PAGE, PAGE)));
	EXPECT_EQ(EFAULT, ERRNO_OF(pread(self->fd, memory + 2 * PAGE, PAGE, 0)));
	close(file);
}

TEST_F(fault, a_read_into_a_mapped_file_changes_the_file)
{
	int file = file_with(3 * PAGE, 2);
	char *memory;

	ASSERT_LE(0, file);
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(PAGE + 2, pread(self->fd, memory + PAGE - 1, PAGE + 2, PAGE - 1));
	EXPECT_EQ(PAGE - 1, right_at(file, 0, PAGE - 1, 2));
	EXPECT_EQ(PAGE + 2, right_at(file, PAGE - 1, PAGE + 2, 1));
	EXPECT_EQ(PAGE - 1, right_at(file, 2 * PAGE + 1, PAGE - 1, 2));
	close(file);
}

/* ---- memory that changes during the call ---- */

struct disturber {
	char *memory;
	size_t len;
	bool protect;
	atomic_int over;
	atomic_long rounds;
};

static void *disturb(void *arg)
{
	struct disturber *disturber = arg;
	unsigned int seed = 7;

	pin_to(1);
	while (!disturber->over) {
		char *page = disturber->memory + draw(&seed, disturber->len / PAGE) * PAGE;

		if (disturber->protect) {
			mprotect(page, PAGE, PROT_NONE);
			mprotect(page, PAGE, PROT_READ | PROT_WRITE);
		} else {
			madvise(page, PAGE, MADV_DONTNEED);
		}
		disturber->rounds++;
	}
	return NULL;
}

static int ones_or_zeros(const char *memory, size_t len, char one)
{
	for (size_t i = 0; i < len; i++)
		if (memory[i] != one && memory[i] != 0)
			return i;
	return -1;
}

/* Pages that another thread throws away are brought back, as zeros. */
TEST_F(fault, pages_may_vanish_during_a_write)
{
	struct disturber disturber = { .memory = fresh_memory(MiB), .len = MiB };
	char *copy = fresh_memory(MiB);
	long long end = now_ms() + RACE_MS;
	pthread_t thread;

	ASSERT_NE(NULL, disturber.memory);
	ASSERT_EQ(0, pthread_create(&thread, NULL, disturb, &disturber));
	pin_to(0);
	for (int round = 0; now_ms() < end || !disturber.rounds; round++) {
		char one = 1 + round % 100;
		int wrong;

		memset(disturber.memory, one, MiB);
		memset(copy, 'r', MiB);
		ASSERT_EQ(MiB - 7, pwrite(self->fd, disturber.memory + 7, MiB - 7, 3));
		ASSERT_EQ(MiB - 7, pread(self->fd, copy, MiB - 7, 3));
		wrong = ones_or_zeros(copy, MiB - 7, one);
		ASSERT_EQ(-1, wrong) TH_LOG("round %d, %d instead of %d", round, copy[wrong], one);
	}
	disturber.over = 1;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(fault, pages_may_vanish_during_a_read)
{
	struct disturber disturber = { .memory = fresh_memory(MiB), .len = MiB };
	long long end = now_ms() + RACE_MS;
	pthread_t thread;
	char *bytes = fresh_memory(MiB);

	ASSERT_NE(NULL, disturber.memory);
	memset(bytes, 'x', MiB);
	ASSERT_EQ(MiB, pwrite(self->fd, bytes, MiB, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, disturb, &disturber));
	pin_to(0);
	while (now_ms() < end || !disturber.rounds) {
		ASSERT_EQ(MiB - 7, pread(self->fd, disturber.memory + 3, MiB - 7, 0));
		ASSERT_EQ(-1, ones_or_zeros(disturber.memory, MiB, 'x'));
	}
	disturber.over = 1;
	pthread_join(thread, NULL);
}

/* Pages that cannot be touched for moments: a short count, and right bytes up to it. */
TEST_F(fault, access_may_come_and_go_during_a_call)
{
	struct disturber disturber = {
		.memory = fresh_memory(MiB), .len = MiB, .protect = true,
	};
	long long end = now_ms() + RACE_MS, shorts = 0, wholes = 0;
	pthread_t thread;

	ASSERT_NE(NULL, disturber.memory);
	fill(disturber.memory, MiB, 0, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, disturb, &disturber));
	pin_to(0);
	while (now_ms() < end) {
		ssize_t put, got;

		ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
		put = write(self->fd, disturber.memory, MiB);
		if (put < 0) {
			ASSERT_EQ(EFAULT, errno);
			put = 0;
		}
		ASSERT_EQ(put, lseek(self->fd, 0, SEEK_CUR));
		ASSERT_EQ(put, right_at(self->fd, 0, put, 1));
		got = pread(self->fd, disturber.memory, MiB, 0);
		if (got < 0) {
			ASSERT_EQ(EFAULT, errno);
		}
		shorts += put < MiB;
		wholes += put == MiB;
	}
	disturber.over = 1;
	pthread_join(thread, NULL);
	EXPECT_EQ(MiB, right(disturber.memory, MiB, 0, 1));
	TH_LOG("%lld short, %lld whole", shorts, wholes);
}

/* ---- memory that takes its time to come ---- */

struct slow_call {
	int fd;
	char *memory;
	bool write;
	off_t pos;
	atomic_int tid;
	atomic_int done;
	ssize_t result;
};

static void *call_slowly(void *arg)
{
	struct slow_call *call = arg;

	call->tid = my_tid();
	call->result = call->write ? pwrite(call->fd, call->memory, 2 * PAGE, call->pos) :
				     pread(call->fd, call->memory, 2 * PAGE, call->pos);
	call->done = 1;
	return NULL;
}

/*
 * A writer waits for its source to be paged in, perhaps over a network. The
 * others need not: they read, seek, poll and sync meanwhile.
 */
TEST_F(fault, a_write_that_waits_for_its_source_holds_up_no_reader)
{
	struct slow_call call = { .fd = self->fd, .write = true, .pos = 10 };
	int uffd = slow_memory(&call.memory, 2 * PAGE);
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	pthread_t thread;
	char *memory;

	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, pthread_create(&thread, NULL, call_slowly, &call));
	ASSERT_EQ(1, poll(&poll_fd, 1, 5000));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	EXPECT_EQ(100, right(memory, 100, 0, 1));
	/* Another writer of these bytes would wait: it is told so if it may not. */
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 10, RWF_NOWAIT)));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 9 + 2 * PAGE, RWF_NOWAIT)));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_NOWAIT | RWF_APPEND)));
	EXPECT_EQ(100, length_of(self->fd));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(POLL_READ | POLL_WRITE, polled(self->fd, POLL_ALL));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, call.done);
	EXPECT_TRUE(bring(uffd, call.memory, 10));
	EXPECT_TRUE(bring(uffd, call.memory + PAGE, 10 + PAGE));
	EXPECT_TRUE(is_set_within(&call.done, 5000));
	pthread_join(thread, NULL);
	EXPECT_EQ(2 * PAGE, call.result);
	EXPECT_EQ(2 * PAGE + 10, right_at(self->fd, 0, 2 * PAGE + 10, 1));
	close(uffd);
}

TEST_F(fault, a_read_that_waits_for_its_target_holds_up_nobody)
{
	struct slow_call call = { .fd = self->fd, .pos = 10 };
	int uffd = slow_memory(&call.memory, 2 * PAGE);
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	pthread_t thread;

	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(3 * PAGE, put_at(self->fd, 0, 3 * PAGE, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, call_slowly, &call));
	ASSERT_EQ(1, poll(&poll_fd, 1, 5000));
	EXPECT_EQ(3 * PAGE, right_at(self->fd, 0, 3 * PAGE, 1));
	EXPECT_EQ(2 * PAGE, put_at(self->fd, 10, 2 * PAGE, 2));
	EXPECT_EQ(10, put_at(self->fd, 10 * PAGE, 10, 2));
	EXPECT_EQ(10 * PAGE + 10, length_of(self->fd));
	EXPECT_EQ(0, call.done);
	EXPECT_TRUE(bring(uffd, call.memory, 0));
	EXPECT_TRUE(bring(uffd, call.memory + PAGE, PAGE));
	EXPECT_TRUE(is_set_within(&call.done, 5000));
	pthread_join(thread, NULL);
	EXPECT_EQ(2 * PAGE, call.result);
	EXPECT_EQ(2 * PAGE, right(call.memory, 2 * PAGE, 10, 2));
	close(uffd);
}

/* Nobody will ever bring the page: a signal that kills has to be enough. */
TEST_F(fault, a_call_that_waits_for_its_memory_can_be_killed)
{
	for (int writing = 0; writing <= 1; writing++) {
		struct slow_call call = { .fd = self->fd, .write = writing };
		pid_t child;
		int ready[2];
		char byte;

		ASSERT_EQ(0, pipe(ready));
		ASSERT_EQ(3 * PAGE, put_at(self->fd, 0, 3 * PAGE, 1));
		child = fork_child();
		ASSERT_LE(0, child);
		if (child == 0) {
			if (slow_memory(&call.memory, 2 * PAGE) < 0)
				_exit(KSFT_SKIP);
			if (write(ready[1], "x", 1) == 1)
				call_slowly(&call);
			_exit(0);
		}
		close(ready[1]);
		if (read(ready[0], &byte, 1) == 1) {
			EXPECT_TRUE(sleeps_in(child, writing ? SYS_pwrite64 : SYS_pread64));
			EXPECT_EQ(0, kill(child, SIGKILL));
			EXPECT_EQ(128 + SIGKILL, status_of(child));
		} else if (status_of(child) == KSFT_SKIP) {
			SKIP(return, "no userfaultfd");
		}
		close(ready[0]);
		/* Nothing is held any more. */
		EXPECT_EQ(3 * PAGE, put_at(self->fd, 0, 3 * PAGE, 2));
		EXPECT_EQ(3 * PAGE, right_at(self->fd, 0, 3 * PAGE, 2));
	}
}

static int wait_in_pwrite(int fd)
{
	return pwrite(fd, "x", 1, 10);
}

static int wait_in_ftruncate(int fd)
{
	return ftruncate(fd, PAGE);
}

static int wait_in_set_length(int fd)
{
	struct qemufile_length length = { .length = PAGE };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length);
}

static int wait_in_set_flags(int fd)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };

	return ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &flags);
}

static int wait_in_punch(int fd)
{
	struct qemufile_range range = { .length = PAGE };

	return ioctl(fd, QEMUFILE_IOC_PUNCH, &range);
}

static int wait_in_splice(int fd)
{
	loff_t pos = 10;
	int ends[2];

	if (pipe(ends) || write(ends[1], "x", 1) != 1)
		return -1;
	return splice(ends[0], NULL, fd, &pos, 1, 0);
}

/*
 * The pages of a writer's source never come, and it is not killed. Whoever waits
 * for it can be, and has done nothing then.
 */
TEST_F(fault, whoever_waits_for_a_writer_can_be_killed)
{
	const struct {
		int (*call)(int fd);
		long number;
	} waits[] = {
		{ wait_in_pwrite, SYS_pwrite64 },
#ifdef SYS_ftruncate64
		{ wait_in_ftruncate, SYS_ftruncate64 },
#else
		{ wait_in_ftruncate, SYS_ftruncate },
#endif
		{ wait_in_set_length, SYS_ioctl },
		{ wait_in_set_flags, SYS_ioctl },
		{ wait_in_punch, SYS_ioctl },
		{ wait_in_splice, SYS_splice },
	};
	struct slow_call call = { .fd = self->fd, .write = true, .pos = 10 };
	struct iovec elsewhere = { .iov_base = "x", .iov_len = 1 };
	int uffd = slow_memory(&call.memory, 2 * PAGE);
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	pthread_t thread;

	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(5 * PAGE, put_at(self->fd, 0, 5 * PAGE, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, call_slowly, &call));
	ASSERT_EQ(1, poll(&poll_fd, 1, 5000));
	for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
		bool is_truncate = waits[i].call == wait_in_ftruncate, is_gone = false;
		struct stat stat;
		pid_t child;

		/* The device has no ftruncate(2). */
		if (is_truncate && !fstat(self->fd, &stat) && !S_ISREG(stat.st_mode))
			continue;
		child = fork_child();
		ASSERT_LE(0, child);
		if (child == 0) {
			waits[i].call(self->fd);
			_exit(0);
		}
		EXPECT_TRUE(sleeps_in(child, waits[i].number)) TH_LOG("%zu", i);
		/* Nobody passes it: it would wait for ever. */
		EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->fd, &elsewhere, 1, 4 * PAGE, RWF_NOWAIT)));
		EXPECT_EQ(0, kill(child, SIGKILL));
		for (int ms = 0; ms < 5000 && !is_gone; ms += 10) {
			is_gone = waitpid(child, NULL, WNOHANG) == child;
			sleep_ms(10);
		}
		EXPECT_TRUE(is_gone) TH_LOG("%zu is deaf to SIGKILL", i);
		if (!is_gone)
			break;
		/* It holds up nobody any more. */
		EXPECT_EQ(1, pwritev2(self->fd, &elsewhere, 1, 4 * PAGE, RWF_NOWAIT));
	}
	EXPECT_EQ(0, call.done);
	EXPECT_EQ(4 * PAGE, right_at(self->fd, 0, 4 * PAGE, 1));
	EXPECT_EQ(5 * PAGE, length_of(self->fd));
	EXPECT_TRUE(bring(uffd, call.memory, 10));
	EXPECT_TRUE(bring(uffd, call.memory + PAGE, 10 + PAGE));
	EXPECT_TRUE(is_set_within(&call.done, 5000));
	pthread_join(thread, NULL);
	EXPECT_EQ(4 * PAGE, right_at(self->fd, 0, 4 * PAGE, 1));
	close(uffd);
}

/* Memory of which one page at a time is there: to bring one takes the others away. */
struct narrow_memory {
	char *memory;
	size_t len;
	int uffd;
	atomic_int over;
};

static void *bring_one_at_a_time(void *arg)
{
	struct narrow_memory *narrow = arg;
	static char bytes[PAGE];

	while (!narrow->over) {
		struct pollfd poll_fd = { .fd = narrow->uffd, .events = POLLIN };
		struct uffdio_copy copy = { .src = (unsigned long)bytes, .len = PAGE };
		struct uffd_msg message;

		if (poll(&poll_fd, 1, 50) != 1 ||
		    read(narrow->uffd, &message, sizeof(message)) != sizeof(message))
			continue;
		copy.dst = message.arg.pagefault.address & ~(PAGE - 1);
		fill(bytes, PAGE, copy.dst - (unsigned long)narrow->memory, 1);
		madvise(narrow->memory, narrow->len, MADV_DONTNEED);
		ioctl(narrow->uffd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

/*
 * Pages are there when they are faulted in, and gone when they are copied. A call
 * goes on with what it has, one that is all or nothing as well.
 */
TEST_F(fault, a_call_ends_though_one_page_is_there_at_a_time)
{
	enum { READ, WRITE, WRITE_ATOMICALLY };
	struct narrow_memory narrow = { .len = 16 * PAGE };
	pthread_t thread;

	narrow.uffd = slow_memory(&narrow.memory, narrow.len);
	if (narrow.uffd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ((long long)narrow.len, put_at(self->fd, 0, narrow.len, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, bring_one_at_a_time, &narrow));
	for (int how = READ; how <= WRITE_ATOMICALLY; how++) {
		struct iovec iov = { .iov_base = narrow.memory, .iov_len = narrow.len };
		ssize_t moved;

		/* A call that does not end is ended by the harness. */
		if (how == READ)
			moved = preadv(self->fd, &iov, 1, 0);
		else
			moved = pwritev2(self->fd, &iov, 1, 0, how == WRITE ? 0 : RWF_ATOMIC);
		EXPECT_EQ((ssize_t)narrow.len, moved) TH_LOG("%d", how);
		if (how != READ) {
			EXPECT_EQ((long long)narrow.len, right_at(self->fd, 0, narrow.len, 1));
			EXPECT_EQ((long long)narrow.len, put_at(self->fd, 0, narrow.len, 2));
		}
	}
	narrow.over = 1;
	pthread_join(thread, NULL);
	close(narrow.uffd);
}

TEST_HARNESS_MAIN
