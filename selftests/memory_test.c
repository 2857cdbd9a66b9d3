// SPDX-License-Identifier: GPL-2.0
/*
 * The memory that streams take: it is given back, it is accounted to who wrote,
 * and without it a write fails as it should.
 */
#include "harness.h"
#include "groups.h"
#include "ram.h"
#include "device.h"

STREAM_FIXTURE(memory)

/* Whether at least @bytes are free; waits up to 5 s until they are. */
static bool is_free(long long bytes)
{
	long long end = now_ms() + 5000;

	while (free_memory() < bytes) {
		if (now_ms() >= end)
			return false;
		sleep_ms(10);
	}
	return true;
}

/* What others take meanwhile. */
#define SLACK (8 * MiB)

TEST_F(memory, close_gives_it_back)
{
	long long before;

	/* Whatever the first use of anything takes. */
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	before = free_memory();
	for (int round = 0; round < 3; round++) {
		int fd = variant->open(O_RDWR);

		ASSERT_LE(0, fd);
		ASSERT_EQ(64 * MiB, put_at(fd, 0, 64 * MiB, 1));
		EXPECT_GT(before - 40 * MiB, free_memory());
		ASSERT_EQ(0, close(fd));
		EXPECT_TRUE(is_free(before - SLACK)) {
			TH_LOG("%lld bytes are missing", before - free_memory());
		}
	}
}

TEST_F(memory, a_killed_holder_gives_it_back)
{
	long long before = free_memory();
	int ready[2];
	char byte;
	pid_t child;

	ASSERT_EQ(0, pipe(ready));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		for (int i = 0; i < 8; i++) {
			int fd = variant->open(O_RDWR);

			if (fd < 0 || put_at(fd, i * GiB, 8 * MiB, 1) != 8 * MiB)
				_exit(1);
		}
		write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_GT(before - 40 * MiB, free_memory());
	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(128 + SIGKILL, status_of(child));
	EXPECT_TRUE(is_free(before - SLACK)) {
		TH_LOG("%lld bytes are missing", before - free_memory());
	}
}

TEST_F(memory, holes_take_none)
{
	long long before = free_memory();

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(1, put_at(self->fd, i * TiB, 1, 1));
	}
	EXPECT_EQ(99 * TiB + 1, length_of(self->fd));
	EXPECT_TRUE(is_free(before - SLACK));
}

/* ---- a control group whose limit is soon reached ---- */

TEST_F(memory, is_accounted_to_who_writes)
{
	pid_t child;

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0) {
		put_text(GROUP "/cgroup.procs", "0");
		_exit(put_at(self->fd, 0, 16 * MiB, 1) != 16 * MiB);
	}
	EXPECT_EQ(0, status_of(child));
	/* The stream has outlived its writer. */
	EXPECT_LT(15 * MiB, get_number(GROUP "/memory.current"));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(group_uses_less_than(MiB));
	remove_group();
}

/* How 16 MiB get from a pipe into a stream. */
struct pipe_move {
	int fd;
	int out;
	int in;
	bool writer_is_in_group;
	bool mover_is_in_group;
};

/* The exit status of a child that writes to the pipe. */
static int write_to_pipe(struct pipe_move *move)
{
	static char bytes[CHUNK];
	long long pos = 0;

	close(move->out);
	if (move->writer_is_in_group && !put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	while (pos < 16 * MiB && write(move->in, fill(bytes, CHUNK, pos, 1), CHUNK) == CHUNK)
		pos += CHUNK;
	return pos != 16 * MiB;
}

/* The exit status of a child that moves what is in the pipe to the stream. */
static int move_to_stream(struct pipe_move *move)
{
	loff_t pos = 0;

	close(move->in);
	if (move->mover_is_in_group && !put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	while (pos < 16 * MiB &&
	       splice(move->out, NULL, move->fd, &pos, 16 * MiB - pos, 0) > 0)
		;
	return pos != 16 * MiB;
}

/* Whether a pipe's pages are taken over or copied, and whoever filled them. */
TEST_F(memory, from_a_pipe_is_accounted_to_who_moves_it)
{
	struct qemufile_length nothing = { .length = 0 };

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	for (int i = 1; i <= 3; i++) {
		struct pipe_move move = {
			.fd = self->fd, .writer_is_in_group = i & 1, .mover_is_in_group = i & 2,
		};
		pid_t writer, mover;
		int pipe_fds[2];

		ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LENGTH, &nothing));
		ASSERT_TRUE(group_uses_less_than(2 * MiB));
		ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
		move.out = pipe_fds[0];
		move.in = pipe_fds[1];
		writer = fork_child();
		if (writer == 0)
			_exit(write_to_pipe(&move));
		mover = fork_child();
		if (mover == 0)
			_exit(move_to_stream(&move));
		close(move.out);
		close(move.in);
		EXPECT_EQ(0, status_of(writer));
		EXPECT_EQ(0, status_of(mover));
		EXPECT_EQ(16 * MiB, right_at(self->fd, 0, 16 * MiB, 1));
		if (move.mover_is_in_group) {
			/* Once. */
			EXPECT_LT(15 * MiB, get_number(GROUP "/memory.current"));
			EXPECT_TRUE(group_uses_less_than(18 * MiB));
		} else {
			EXPECT_TRUE(group_uses_less_than(2 * MiB));
		}
	}
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(group_uses_less_than(MiB));
	remove_group();
}

/* ---- what readers keep ---- */

/* A writer in the group, which writes a mebibyte over and over, once for each byte in a pipe. */
struct rewriter {
	int fd;
	int orders[2];
	int reports[2];
};

static int write_when_told(struct rewriter *writer)
{
	char byte;

	close(writer->orders[1]);
	if (!put_text(GROUP "/cgroup.procs", "0"))
		return 1;
	for (unsigned int seed = 1; read(writer->orders[0], &byte, 1) == 1; seed = seed % 100 + 1) {
		if (put_at(writer->fd, 0, MiB, seed) != MiB || write(writer->reports[1], "x", 1) != 1)
			return 1;
	}
	return 0;
}

#define REWRITES 24

/*
 * What the writer's group uses after all rewrites, if a reader outside of it keeps
 * what it can get after each: clones, ranges, pages in pipes.
 */
static long long used_if_a_reader_keeps_all(struct __test_metadata *_metadata, int fd)
{
	struct rewriter writer = { .fd = fd };
	int reader = open_handle(fd, O_RDONLY), kept[REWRITES][5];
	long long used;
	pid_t child;
	char byte;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, pipe2(writer.orders, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(writer.reports, O_CLOEXEC));
	child = fork_child();
	if (child == 0)
		_exit(write_when_told(&writer));
	for (int i = 0; i < REWRITES; i++) {
		int *mine = kept[i];
		off_t from = 0, to = 0;

		ASSERT_EQ(1, write(writer.orders[1], "x", 1));
		ASSERT_EQ(1, read(writer.reports[0], &byte, 1));
		mine[0] = open_clone(reader, O_RDONLY);
		mine[1] = open_file(O_RDWR);
		ASSERT_LE(0, mine[1]);
		ioctl(mine[1], _IOW(0x94, 9, int), reader);	/* FICLONE */
		mine[2] = open_file(O_RDWR);
		ASSERT_LE(0, mine[2]);
		while (to < MiB && copy_file_range(reader, &from, mine[2], &to, MiB - to, 0) > 0)
			;
		EXPECT_EQ(MiB, to);
		ASSERT_EQ(0, pipe2(mine + 3, O_CLOEXEC));
		ASSERT_LE(MiB, fcntl(mine[4], F_SETPIPE_SZ, MiB));
		ASSERT_EQ(MiB, splice(reader, &(loff_t){ 0 }, mine[4], NULL, MiB, 0));
	}
	used = get_number(GROUP "/memory.current");
	close(writer.orders[1]);
	EXPECT_EQ(0, status_of(child));
	for (int i = 0; i < REWRITES; i++) {
		for (int j = 0; j < 5; j++)
			close(kept[i][j]);
	}
	close(writer.orders[0]);
	close(writer.reports[0]);
	close(writer.reports[1]);
	close(reader);
	return used;
}

/* What QEMUFILE_STREAM_NOSHARE is for. */
TEST_F(memory, what_a_reader_shares_stays_charged_to_who_wrote_it)
{
	struct qemufile_limit limit = { .limit = MiB };

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	EXPECT_LT(REWRITES * MiB, used_if_a_reader_keeps_all(_metadata, self->fd));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(group_uses_less_than(MiB));
	remove_group();
}

TEST_F(memory, without_sharing_a_reader_keeps_nothing_of_the_writers)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_NOSHARE };
	struct qemufile_limit limit = { .limit = MiB };

	if (!make_group("max"))
		SKIP(return, "no memory control groups");
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	/* The stream, and what the writing process takes itself. */
	EXPECT_GT(4 * MiB, used_if_a_reader_keeps_all(_metadata, self->fd));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(group_uses_less_than(MiB));
	remove_group();
}

/* ---- without memory ---- */

/*
 * The write is short where the memory ends, and then ENOMEM; nobody is killed
 * for it. The writer, in a group that is full, must touch no new memory itself.
 */
TEST_F(memory, without_it_a_write_is_short_or_enomem)
{
	struct {
		long long pos;
		ssize_t put;
		int error;
	} *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *memory = fresh_memory(MiB + 5);
	pid_t child;

	ASSERT_NE(MAP_FAILED, shared);
	if (!make_group("24M"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0) {
		if (!put_text(GROUP "/cgroup.procs", "0"))
			_exit(1);
		do {
			fill(memory, MiB + 5, shared->pos, 1);
			shared->put = write(self->fd, memory, MiB + 5);
			shared->error = errno;
			shared->pos += shared->put > 0 ? shared->put : 0;
		} while (shared->put > 0 && shared->pos < 40 * MiB);
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(-1, shared->put);
	EXPECT_EQ(ENOMEM, shared->error);
	EXPECT_LT(10 * MiB, shared->pos);
	EXPECT_EQ(shared->pos, length_of(self->fd));
	EXPECT_EQ(shared->pos, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(shared->pos, right_at(self->fd, 0, shared->pos, 1));
	/* Out of the group, it goes on. */
	EXPECT_EQ(MiB, put_at(self->fd, 0, MiB, 2));
	EXPECT_EQ(MiB, put_at(self->fd, shared->pos, MiB, 2));
	EXPECT_EQ(POLLERR, polled(self->fd, 0));
	EXPECT_EQ(ENOMEM, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(ENOMEM, ERRNO_OF(close(self->fd)));
	remove_group();
}

/*
 * The group is full, and the writer goes on elsewhere, where there is not even a
 * node of the tree. That is ENOMEM as well, and nobody is killed.
 */
TEST_F(memory, without_it_a_write_elsewhere_is_enomem_too)
{
	pid_t child;

	if (!make_group("24M"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0) {
		char *memory = fresh_memory(MiB);
		int last = 0;

		/* What the test itself needs is there before, and charged elsewhere. */
		fill(memory, MiB, 0, 1);
		if (!put_text(GROUP "/cgroup.procs", "0"))
			_exit(1);
		while (write(self->fd, memory, MiB) > 0)
			;
		last = errno;
		/*
		 * Each is a leaf of its own, and some are new levels of the tree. The kernel
		 * tries hard to free memory before each fails, so they are few.
		 */
		for (long long i = 1; i < 40 && last == ENOMEM; i++)
			last = pwrite(self->fd, memory, 1, i * 64 * MiB + i) < 0 ? errno : ENOMEM;
		_exit(last == ENOMEM ? 0 : 2);
	}
	EXPECT_EQ(0, status_of(child));
	remove_group();
}

/* SIGBUS, and not the OOM killer, nor a fault for ever. */
TEST_F(memory, without_it_a_store_is_sigbus)
{
	volatile int *reached;
	char *memory;
	pid_t child;

	reached = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, reached);
	ASSERT_EQ(0, set_length(self->fd, 64 * MiB));
	memory = map_ram(self->fd, 64 * MiB);
	ASSERT_NE(NULL, memory);
	if (!make_group("24M"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0) {
		int number = 0;

		/* The stack for a signal is there before: arm64's takes more than a page. */
		if (touch(nowhere(), true) != SIGSEGV || !put_text(GROUP "/cgroup.procs", "0"))
			_exit(1);
		for (; *reached < 16 * 1024 && number == 0; ++*reached)
			number = touch(memory + *reached * PAGE, true);
		_exit(number == SIGBUS ? 0 : 2);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_LT(10 * MiB, *reached * PAGE);
	EXPECT_GT(64 * MiB, *reached * PAGE);
	EXPECT_EQ('w', memory[0]);
	/* Out of the group, it goes on. */
	EXPECT_EQ(0, touch(memory + 64 * MiB - PAGE, true));
	remove_group();
}

/* fallocate(2) of more than there is, ended long before it would find that out. */
TEST_F(memory, a_reservation_can_be_killed)
{
	int fd = open_handle(self->fd, O_RDWR);
	struct qemufile_info info;
	pid_t child;

	ASSERT_LE(0, fd);
	if (!make_group("400M"))
		SKIP(return, "no memory control groups");
	ASSERT_EQ(MiB, put_at(fd, 0, MiB, 1));
	/* So that the child does not run while it is looked at. */
	pin_to(0);
	child = fork_child();
	if (child == 0) {
		if (put_text(GROUP "/cgroup.procs", "0"))
			fallocate(fd, 0, 0, TiB);
		_exit(0);
	}
	for (int i = 0; i < 5000 && get_number(GROUP "/memory.current") < 8 * MiB; i++)
		sleep_ms(1);
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
	EXPECT_LT(8 * MiB, get_number(GROUP "/memory.peak"));
	EXPECT_GT(300 * MiB, get_number(GROUP "/memory.peak"));
	/* It is as if nothing had been asked for. */
	ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(MiB, (long long)info.length);
	EXPECT_EQ(MiB, (long long)info.allocated);
	EXPECT_EQ(MiB, right_at(fd, 0, MiB, 1));
	close(fd);
	remove_group();
}

TEST_F(memory, without_it_an_atomic_write_does_nothing)
{
	pid_t child;

	if (!make_group("24M"))
		SKIP(return, "no memory control groups");
	child = fork_child();
	if (child == 0) {
		int fd = variant->open(O_RDWR);
		/* Never touched, it takes no memory of its own. */
		struct iovec iov = { .iov_base = fresh_memory(40 * MiB), .iov_len = 40 * MiB };

		put_text(GROUP "/cgroup.procs", "0");
		EXPECT_EQ(5 * MiB, put_at(fd, 0, 5 * MiB, 1));
		EXPECT_EQ(7, lseek(fd, 7, SEEK_SET));
		EXPECT_EQ(ENOMEM, ERRNO_OF(pwritev2(fd, &iov, 1, -1, RWF_ATOMIC)));
		EXPECT_EQ(7, lseek(fd, 0, SEEK_CUR));
		EXPECT_EQ(5 * MiB, length_of(fd));
		EXPECT_EQ(5 * MiB, right_at(fd, 0, 5 * MiB, 1));
		EXPECT_GT(10 * MiB, get_number(GROUP "/memory.current"));
		/* Of a size that there is memory for. */
		iov.iov_len = 5 * MiB;
		EXPECT_EQ(5 * MiB, pwritev2(fd, &iov, 1, -1, RWF_ATOMIC));
		EXPECT_EQ(5 * MiB, right_at(fd, 7, 5 * MiB, ZEROS));
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	remove_group();
}

/* ---- each allocation failing in turn ---- */

/* Has the @nth allocation from now on fail; none if 0. */
static bool fail_nth(int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	return put_text("/proc/thread-self/fail-nth", text);
}

/* Ends that, and says whether an allocation has failed. */
static bool has_failed(void)
{
	bool failed = get_number("/proc/thread-self/fail-nth") == 0;

	fail_nth(0);
	return failed;
}

/*
 * Whether the kernel can do that to us; sets it up. Copies from and to user
 * memory count as allocations, if the kernel can fail those.
 */
static bool faults_can_be_injected(void)
{
	put_text("/sys/kernel/debug/fail_usercopy/verbose", "0");
	return put_text("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") &&
	       put_text("/sys/kernel/debug/failslab/verbose", "0") &&
	       put_text("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N") &&
	       put_text("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N") &&
	       put_text("/sys/kernel/debug/fail_page_alloc/min-order", "0") &&
	       put_text("/sys/kernel/debug/fail_page_alloc/verbose", "0") &&
	       fail_nth(0);
}

FIXTURE(injection) {
};

FIXTURE_SETUP(injection)
{
	if (!faults_can_be_injected())
		SKIP(return, "no CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC");
}

FIXTURE_TEARDOWN(injection)
{
}

TEST_F(injection, each_allocation_of_open_may_fail)
{
	int nth = 1, fd;

	for (;; nth++) {
		bool failed;

		fail_nth(nth);
		fd = open_file(O_RDWR);
		failed = has_failed();
		if (!failed)
			break;
		/* An allocation may be one that can do without. */
		if (fd < 0) {
			EXPECT_TRUE(errno == ENOMEM || errno == ENFILE || errno == EFAULT)
				TH_LOG("%m");
		} else {
			EXPECT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
			EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
			EXPECT_EQ(0, close(fd));
		}
	}
	EXPECT_LE(0, fd);
	EXPECT_LT(2, nth);
	close(fd);
}

TEST_F(injection, each_allocation_of_a_write_may_fail)
{
	const long long places[] = { 0, 5 * PAGE + 3, 3 * NODE - PAGE, TiB - 7 };
	const long long lens[] = { 10, 2 * PAGE, CHUNK + PAGE };
	char *memory = fresh_memory(2 * NODE);
	int most = 0;

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			long long pos = places[i], len = lens[j];

			fill(memory, len, pos, 1);
			for (int nth = 1;; nth++) {
				int fd = open_file(O_RDWR);
				ssize_t put;
				bool failed;
				int error;

				ASSERT_LE(0, fd);
				fail_nth(nth);
				put = pwrite(fd, memory, len, pos);
				error = errno;
				failed = has_failed();
				if (put < 0) {
					ASSERT_EQ(ENOMEM, error);
					ASSERT_EQ(0, length_of(fd));
				} else {
					ASSERT_LT(0, put);
					ASSERT_EQ(pos + put, length_of(fd));
					ASSERT_EQ(put, right_at(fd, pos, put, 1));
				}
				ASSERT_EQ(put == len ? 0 : ENOMEM, ERRNO_OF(fsync(fd)));
				/* The rest, now that there is memory. */
				put = put < 0 ? 0 : put;
				ASSERT_EQ(len - put, pwrite(fd, memory + put, len - put, pos + put));
				ASSERT_EQ(len, right_at(fd, pos, len, 1));
				close(fd);
				most = nth > most ? nth : most;
				if (!failed)
					break;
			}
		}
	}
	EXPECT_LT(5, most);
}

TEST_F(injection, each_allocation_of_an_atomic_write_may_fail)
{
	const long long places[] = { 0, 5 * PAGE + 3, NODE - PAGE, TiB - 7 };
	const long long lens[] = { 10, 2 * PAGE, CHUNK + PAGE };
	const long long end = NODE + 2 * PAGE + 5;
	char *memory = fresh_memory(2 * NODE);

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			long long pos = places[i], len = lens[j];
			struct iovec iov = { .iov_base = memory, .iov_len = len };

			fill(memory, len, pos, 2);
			for (int nth = 1;; nth++) {
				int fd = open_file(O_RDWR);
				ssize_t put;
				bool failed;
				int error;

				ASSERT_LE(0, fd);
				ASSERT_EQ(end, put_at(fd, 0, end, 1));
				fail_nth(nth);
				put = pwritev2(fd, &iov, 1, pos, RWF_ATOMIC);
				error = errno;
				failed = has_failed();
				if (put < 0) {
					ASSERT_EQ(ENOMEM, error);
					ASSERT_EQ(end, length_of(fd));
					ASSERT_EQ(end, right_at(fd, 0, end, 1));
				} else {
					ASSERT_EQ(len, put);
					ASSERT_EQ(len, right_at(fd, pos, len, 2));
				}
				close(fd);
				if (!failed)
					break;
			}
		}
	}
}

/* Calls that are done whole or not at all; each returns -1 and errno if it fails. */

static int call_bufopen(int fd)
{
	int new = open_handle(fd, O_RDWR);

	return new < 0 ? -1 : close(new);
}

static int call_clone(int fd)
{
	int new = open_clone(fd, O_RDWR);

	return new < 0 ? -1 : close(new);
}

static int call_reopen(int fd)
{
	int new = reopen(fd, O_RDONLY);

	return new < 0 ? -1 : close(new);
}

static int call_shrink(int fd)
{
	struct qemufile_length length = { .length = PAGE + 5 };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length);
}

static int call_grow(int fd)
{
	struct qemufile_length length = { .length = TiB };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length);
}

static int call_punch(int fd)
{
	struct qemufile_range range = { .start = PAGE + 5, .length = NODE };

	return ioctl(fd, QEMUFILE_IOC_PUNCH, &range);
}

static int call_ficlonerange(int fd)
{
	struct {
		int64_t fd;
		uint64_t from, len, to;
	} range = { .fd = fd, .len = 3 * PAGE, .to = 5 * NODE };

	return ioctl(fd, _IOW(0x94, 13, range), &range);
}

static int call_fallocate(int fd)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, NODE + 10 * PAGE);
}

static int call_epoll(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epfd = epoll_create1(EPOLL_CLOEXEC), result;

	if (epfd < 0)
		return -1;
	result = epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
	close(epfd);
	return result;
}

static int call_mmap(int fd)
{
	void *memory = mmap(NULL, NODE, PROT_READ, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? -1 : munmap(memory, NODE);
}

static int call_splice(int fd)
{
	int pipe_fds[2];
	loff_t pos = 0;
	ssize_t moved;

	if (pipe(pipe_fds))
		return -1;
	moved = splice(fd, &pos, pipe_fds[1], NULL, CHUNK, 0);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return moved > 0 ? 0 : -1;
}

/* A file is on all lists of those to be told, or on none. */
TEST_F(injection, o_async_is_set_or_is_not)
{
	struct qemufile_limit limit = { .limit = MiB };
	struct timespec none = {};
	bool failed = true;
	int nth, refused = 0;
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGRTMIN);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &wanted, NULL));
	for (nth = 1; failed; nth++) {
		int fd = open_file(O_RDWR), result, error, signals = 0;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, fcntl(fd, F_SETOWN, getpid()));
		ASSERT_EQ(0, fcntl(fd, F_SETSIG, SIGRTMIN));
		fail_nth(nth);
		result = fcntl(fd, F_SETFL, O_ASYNC);
		error = errno;
		failed = has_failed();
		/* An allocation may be one that can do without. */
		if (result) {
			EXPECT_TRUE(failed);
			EXPECT_EQ(ENOMEM, error);
			refused++;
		}
		EXPECT_EQ(result ? 0 : O_ASYNC, fcntl(fd, F_GETFL) & O_ASYNC);
		/* For one that reads, and for one that writes. */
		ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit));
		while (sigtimedwait(&wanted, NULL, &none) == SIGRTMIN)
			signals++;
		EXPECT_EQ(result ? 0 : 2, signals);
		ASSERT_EQ(0, close(fd));
	}
	/* For any of the lists. */
	EXPECT_LE(3, refused);
}

TEST_F(injection, each_allocation_of_other_calls_may_fail)
{
	const struct {
		const char *name;
		int (*call)(int fd);
	} trials[] = {
		{ "BUFOPEN", call_bufopen }, { "CLONE", call_clone }, { "reopen", call_reopen },
		{ "SET_LENGTH, less", call_shrink }, { "SET_LENGTH, more", call_grow },
		{ "PUNCH", call_punch }, { "FICLONERANGE", call_ficlonerange },
		{ "fallocate", call_fallocate }, { "epoll", call_epoll }, { "mmap", call_mmap },
		{ "splice", call_splice },
	};
	const long long end = NODE + PAGE + 5;

	for (size_t i = 0; i < ARRAY_LEN(trials); i++) {
		for (int nth = 1;; nth++) {
			/* Regular, as some of the calls ask for; all of its pages are shared. */
			int fd = open_file(O_RDWR), copy, result, error;
			bool failed;

			ASSERT_LE(0, fd);
			ASSERT_EQ(end, put_at(fd, 0, end, 1));
			copy = open_clone(fd, O_RDWR);
			ASSERT_LE(0, copy);
			fail_nth(nth);
			result = trials[i].call(fd);
			error = errno;
			failed = has_failed();
			if (result < 0) {
				EXPECT_TRUE(failed);
				EXPECT_TRUE(error == ENOMEM || error == ENFILE || error == EFAULT)
					TH_LOG("%s, %d: %s", trials[i].name, nth, strerror(error));
				/* Unless it was done, and that could not be told. */
				if (error != EFAULT) {
					EXPECT_EQ(end, length_of(fd));
					EXPECT_EQ(end, right_at(fd, 0, end, 1))
						TH_LOG("%s, %d", trials[i].name, nth);
				}
				EXPECT_EQ(0, trials[i].call(fd));
			}
			EXPECT_EQ(end, right_at(copy, 0, end, 1));
			close(copy);
			close(fd);
			if (!failed)
				break;
		}
	}
}

/* A store is done, or is a SIGBUS that changes nothing; a clone is a clone, or none. */
TEST_F(injection, each_allocation_of_stores_and_their_clones_may_fail)
{
	for (int what = 0; what < 4; what++) {
		for (int nth = 1;; nth++) {
			int fd = open_device(O_RDWR), copy = -1, clone = -1, number = 0;
			char *memory;
			bool failed;

			ASSERT_EQ(NODE + 100, put_at(fd, 0, NODE + 100, 1));
			ASSERT_EQ(0, set_length(fd, 3 * NODE));
			memory = map_ram(fd, 3 * NODE);
			ASSERT_NE(NULL, memory);
			if (what == 0)
				copy = open_clone(fd, O_RDWR);
			if (what == 3) {
				ASSERT_EQ(0, touch(memory + 1, true));
				ASSERT_EQ(0, touch(memory + NODE + 1, true));
			}
			fail_nth(nth);
			switch (what) {
			case 0:	/* A shared page. */
			case 1:	/* A page of the stream's own. */
				number = touch(memory, true);
				break;
			case 2:	/* A hole. */
				number = touch(memory + 2 * NODE, true);
				break;
			case 3:
				clone = open_clone(fd, O_RDWR);
				break;
			}
			failed = has_failed();
			if (what == 3) {
				EXPECT_TRUE(clone >= 0 || failed);
				EXPECT_TRUE(clone < 0 || char_at(clone, 1) == 'w');
				EXPECT_EQ('w', memory[NODE + 1]);
			} else {
				EXPECT_TRUE(number == 0 || (number == SIGBUS && failed))
					TH_LOG("%d, %d: %d", what, nth, number);
				EXPECT_EQ(number ? (what == 2 ? 0 : (char)byte_at(0, 1)) : 'w',
					  memory[what == 2 ? 2 * NODE : 0]);
			}
			EXPECT_EQ(0, touch(memory + 2, true));
			if (copy >= 0)
				EXPECT_EQ(NODE, right_at(copy, 0, NODE, 1));
			munmap(memory, 3 * NODE);
			close(copy);
			close(clone);
			close(fd);
			if (!failed)
				break;
		}
	}
}

/*
 * What a reader has passed is gone, and makes room, whether or not there is memory
 * to free it; then it is freed by the next write. At most one allocation makes a
 * difference: that of what looks at the position when the call returns.
 */
TEST_F(injection, each_allocation_of_draining_may_fail)
{
	static unsigned char bytes[CHUNK];
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	int nth, later = 0;
	bool failed = true;

	for (nth = 1; failed; nth++) {
		int fd = open_device(O_RDWR), reader = open_handle(fd, O_RDONLY), copy;
		struct qemufile_info info = {};
		ssize_t got;

		ASSERT_LE(0, reader);
		ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &flags));
		ASSERT_EQ(2 * CHUNK, put_at(fd, 0, 2 * CHUNK, 1));
		ASSERT_EQ(PAGE, put_at(fd, TiB, PAGE, 1));
		/* Freeing takes memory where nodes are shared. */
		copy = open_clone(fd, O_RDWR);
		ASSERT_LE(0, copy);
		fail_nth(nth);
		got = read(reader, bytes, CHUNK);
		failed = has_failed();
		ASSERT_EQ(CHUNK, got);
		ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_GET_INFO, &info));
		if (info.drained == 0) {
			later++;
			ASSERT_TRUE(failed);
			ASSERT_EQ(POLLIN, polled(reader, POLLIN));
			ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_GET_INFO, &info));
		}
		ASSERT_EQ(CHUNK, (long long)info.drained);
		ASSERT_EQ(1, pwrite(fd, "x", 1, TiB));
		ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_GET_INFO, &info));
		ASSERT_EQ(CHUNK + PAGE, (long long)info.allocated);
		ASSERT_EQ(2 * CHUNK, right_at(copy, 0, 2 * CHUNK, 1));
		close(copy);
		close(reader);
		close(fd);
	}
	EXPECT_GE(1, later);
	EXPECT_LT(4, nth);
}

/* A file that has each allocation of a slab by this task fail after a write of "1", and none after "0". */
static int open_switch_of_failure(void)
{
	if (!put_text("/sys/kernel/debug/failslab/task-filter", "Y") ||
	    !put_text("/sys/kernel/debug/failslab/times", "-1") ||
	    !put_text("/sys/kernel/debug/failslab/probability", "100"))
		return -1;
	return open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
}

/* Much is left of what was drained, and figures are told all the same. */
TEST_F(injection, figures_are_told_while_drained_memory_cannot_be_freed)
{
	static unsigned char bytes[MiB];
	int fd = open_device(O_RDWR), reader = open_handle(fd, O_RDONLY), copy;
	struct qemufile_info info = {};
	int told, failure = open_switch_of_failure();
	ssize_t got;

	ASSERT_LE(0, failure);
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, set_flags(fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(2 * MiB, put_at(fd, 0, 2 * MiB, 1));
	ASSERT_EQ(1, read(reader, bytes, 1));
	/* Freeing takes memory where nodes are shared. */
	copy = open_clone(fd, O_RDWR);
	ASSERT_LE(0, copy);
	/* Not even a file can be opened then. */
	ASSERT_EQ(1, write(failure, "1", 1));
	got = read(reader, bytes, MiB - PAGE);
	told = ioctl(fd, QEMUFILE_IOC_GET_INFO, &info);
	ASSERT_EQ(1, write(failure, "0", 1));
	EXPECT_TRUE(put_text("/sys/kernel/debug/failslab/probability", "0"));
	EXPECT_TRUE(put_text("/sys/kernel/debug/failslab/task-filter", "N"));
	ASSERT_EQ(MiB - PAGE, got);
	ASSERT_EQ(0, told);
	EXPECT_EQ(MiB - PAGE + 1, (long long)info.drained);
	EXPECT_EQ(2 * MiB, (long long)info.allocated);
	ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(MiB + PAGE, (long long)info.allocated);
	close(copy);
	close(reader);
	close(fd);
}

/* The clone needs a copy of the page that the device has. With or without it, no store is lost. */
TEST_F(injection, each_allocation_of_a_clone_may_fail_while_a_device_stores)
{
	const long long len = 64 * NODE + PAGE;
	int fd = open_device(O_RDWR);
	struct dma dma;
	char *memory;

	ASSERT_EQ(0, set_length(fd, len));
	memory = map_ram(fd, len);
	ASSERT_NE(NULL, memory);
	ASSERT_TRUE(dma_begin(&dma, memory + 64 * NODE, 1)) TH_LOG("%m");
	for (int nth = 1;; nth++) {
		char before = 'a' + nth % 20;
		bool failed;
		int clone;

		memory[0] = before;
		memory[64 * NODE + 1] = before;
		fail_nth(nth);
		clone = open_clone(fd, O_RDWR);
		failed = has_failed();
		memory[0] = 'z';
		memory[64 * NODE + 1] = 'z';
		EXPECT_EQ('z', char_at(fd, 0));
		EXPECT_EQ('z', char_at(fd, 64 * NODE + 1));
		if (clone >= 0) {
			EXPECT_EQ(before, char_at(clone, 0));
			EXPECT_EQ(before, char_at(clone, 64 * NODE + 1));
			EXPECT_EQ(0, char_at(clone, 64 * NODE));
			close(clone);
		} else {
			EXPECT_TRUE(failed) TH_LOG("%m");
		}
		if (!failed)
			break;
	}
	ASSERT_TRUE(dma_end(&dma, "d"));
	EXPECT_EQ('d', char_at(fd, 64 * NODE));
	EXPECT_EQ('d', memory[64 * NODE]);
}

TEST_HARNESS_MAIN
