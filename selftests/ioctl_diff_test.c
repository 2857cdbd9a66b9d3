// SPDX-License-Identifier: GPL-2.0
/* QEMUFILE_IOC_DIFF and QEMUFILE_IOC_GET_USAGE: what streams share, and what not. */
#include "harness.h"
#include "ram.h"

STREAM_FIXTURE(diff)

static struct qemufile_usage usage_of(int fd)
{
	struct qemufile_usage usage = { .private_bytes = -1 };

	ioctl(fd, QEMUFILE_IOC_GET_USAGE, &usage);
	return usage;
}

TEST_F(diff, clones_differ_where_they_were_written)
{
	struct qemufile_diff diff;
	int clone;

	ASSERT_EQ(4 * MiB + 5, put_at(self->fd, 0, 4 * MiB + 5, 1));
	clone = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, clone);
	EXPECT_EQ(0, differing(self->fd, clone));
	ASSERT_EQ(1, pwrite(clone, "x", 1, MiB + 10));
	ASSERT_EQ(2 * PAGE, put_at(self->fd, 3 * MiB - PAGE, 2 * PAGE, 2));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 4 * MiB));
	for (int swap = 0; swap < 2; swap++) {
		int one = swap ? clone : self->fd, other = swap ? self->fd : clone;

		diff = diff_at(one, other, 0);
		EXPECT_EQ(MiB, diff.start);
		EXPECT_EQ(PAGE, diff.length);
		/* From the middle of it. */
		diff = diff_at(one, other, MiB + 10);
		EXPECT_EQ(MiB + 10, diff.start);
		EXPECT_EQ(PAGE - 10, diff.length);
		diff = diff_at(one, other, MiB + PAGE);
		EXPECT_EQ(3 * MiB - PAGE, diff.start);
		EXPECT_EQ(2 * PAGE, diff.length);
		/* The last ends with the stream. */
		diff = diff_at(one, other, 3 * MiB + PAGE);
		EXPECT_EQ(4 * MiB, diff.start);
		EXPECT_EQ(5, diff.length);
		diff = diff_at(one, other, 4 * MiB + 5);
		EXPECT_EQ(0, diff.length);
		EXPECT_EQ(4 * MiB + 5, diff.start);
		EXPECT_EQ(0, diff_at(one, other, OFFSET_MAX).length);
		EXPECT_EQ(0, diff_at(one, other, UINT64_MAX).length);
		EXPECT_EQ(3 * PAGE + 5, differing(one, other));
	}
	EXPECT_EQ(0, differing(self->fd, self->fd));
	close(clone);
}

/* A stream of other length, and one that shares nothing. */
TEST_F(diff, holes_are_the_same_and_so_is_the_end)
{
	int other = open_file(O_RDWR), clone;

	ASSERT_EQ(0, set_length(self->fd, TiB));
	EXPECT_EQ(0, differing(self->fd, other));
	ASSERT_EQ(MiB, put_at(self->fd, GiB, MiB, 1));
	EXPECT_EQ(MiB, differing(self->fd, other));
	EXPECT_EQ(MiB, differing(other, self->fd));
	ASSERT_EQ(MiB, put_at(other, GiB, MiB, 1));
	/* The same bytes, and not the same pages. */
	EXPECT_EQ(MiB, differing(other, self->fd));
	clone = open_clone(self->fd, O_RDWR);
	ASSERT_EQ(0, punch(clone, GiB, PAGE));
	EXPECT_EQ(PAGE, differing(clone, self->fd));
	ASSERT_EQ(0, set_length(clone, GiB + 2 * PAGE));
	EXPECT_EQ(MiB - PAGE, differing(clone, self->fd));
	ASSERT_EQ(0, punch(clone, 0, OFFSET_MAX));
	EXPECT_EQ(MiB, differing(clone, self->fd));
	close(other);
	close(clone);
}

/* What is copied from one to the other is all that makes the one the other. */
TEST_F(diff, is_an_incremental_save)
{
	char *memory, *bytes = fresh_memory(16 * MiB), *again = fresh_memory(16 * MiB);
	int before, after, saved;
	unsigned int seed = 1;
	uint64_t at = 0;

	ASSERT_EQ(0, set_length(self->fd, 16 * MiB));
	memory = map_ram(self->fd, 16 * MiB);
	ASSERT_NE(NULL, memory);
	for (int i = 0; i < 1000; i++)
		memory[rand_r(&seed) % (16 * MiB)] = i;
	before = open_clone(self->fd, O_RDWR);
	for (int i = 0; i < 100; i++)
		memory[rand_r(&seed) % (16 * MiB)] = i;
	after = open_clone(self->fd, O_RDONLY);
	for (int i = 0; i < 100; i++)
		memory[rand_r(&seed) % (16 * MiB)] = i;
	saved = open_clone(before, O_RDWR);
	for (;;) {
		struct qemufile_diff diff = diff_at(after, before, at);

		ASSERT_GE(16 * MiB, diff.length);
		if (diff.length == 0)
			break;
		ASSERT_EQ((ssize_t)diff.length, pread(after, bytes, diff.length, diff.start));
		ASSERT_EQ((ssize_t)diff.length, pwrite(saved, bytes, diff.length, diff.start));
		at = diff.start + diff.length;
	}
	EXPECT_LT(0, differing(after, before));
	EXPECT_GE(100 * PAGE, differing(after, before));
	ASSERT_EQ(16 * MiB, pread(after, bytes, 16 * MiB, 0));
	ASSERT_EQ(16 * MiB, pread(saved, again, 16 * MiB, 0));
	EXPECT_EQ(0, memcmp(bytes, again, 16 * MiB));
	/* Taking snapshots is no difference, and what is only looked at is none. */
	EXPECT_EQ(0, differing(after, open_clone(after, O_RDONLY)));
	close(before);
	close(after);
	close(saved);
}

TEST_F(diff, bad_requests_are_told)
{
	struct qemufile_diff diff = { .fd = -1 };
	int writer = open_handle(self->fd, O_WRONLY), ends[2];
	int path = open(DEVICE, O_PATH | O_CLOEXEC);

	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_DIFF, &diff)));
	diff.fd = 12345;
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_DIFF, &diff)));
	diff.fd = path;
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_DIFF, &diff)));
	diff.fd = writer;
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_DIFF, &diff)));
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(writer, QEMUFILE_IOC_DIFF, &diff)));
	ASSERT_EQ(0, pipe(ends));
	diff.fd = ends[0];
	EXPECT_EQ(EINVAL, ERRNO_OF(ioctl(self->fd, QEMUFILE_IOC_DIFF, &diff)));
	close(writer);
	close(path);
}

/* Two that are compared in both orders, and changed, by all at once. */
struct pair {
	int fds[2];
	atomic_int *over;
	int rounds;
};

static void *compare(void *arg)
{
	struct pair *pair = arg;

	while (!atomic_load(pair->over)) {
		if (differing(pair->fds[0], pair->fds[1]) < 0)
			return arg;
		pair->rounds++;
	}
	return NULL;
}

static void *rewrite(void *arg)
{
	struct pair *pair = arg;

	for (int i = 0; !atomic_load(pair->over); i++) {
		put_at(pair->fds[i % 2], i % 64 * PAGE, 3 * PAGE, i);
		if (i % 50 == 0)
			set_length(pair->fds[0], 64 * MiB + i % 7 * PAGE);
		pair->rounds++;
	}
	return NULL;
}

TEST_F(diff, is_taken_in_both_directions_while_both_change)
{
	int clone;
	struct pair pairs[3];
	pthread_t threads[3];
	atomic_int over = 0;
	void *bad;

	ASSERT_EQ(8 * MiB, put_at(self->fd, 0, 8 * MiB, 1));
	clone = open_clone(self->fd, O_RDWR);
	for (int i = 0; i < 3; i++) {
		pairs[i] = (struct pair){ { self->fd, clone }, &over };
		if (i == 1)
			pairs[i] = (struct pair){ { clone, self->fd }, &over };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i < 2 ? compare : rewrite, &pairs[i]));
	}
	sleep_ms(RACE_MS);
	over = 1;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &bad);
		EXPECT_EQ(NULL, bad);
		EXPECT_LT(0, pairs[i].rounds);
	}
	close(clone);
}

FIXTURE(usage) {
	int fd;
};

FIXTURE_SETUP(usage)
{
	self->fd = open_device(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(usage)
{
	close(self->fd);
}

TEST_F(usage, tells_whose_the_memory_is)
{
	struct qemufile_usage usage;
	char *memory;
	int clone;

	EXPECT_EQ(0, usage_of(self->fd).private_bytes);
	ASSERT_EQ(0, set_length(self->fd, 64 * MiB));
	memory = map_ram(self->fd, 64 * MiB);
	ASSERT_NE(NULL, memory);
	memset(memory, 'x', 8 * MiB);
	usage = usage_of(self->fd);
	EXPECT_EQ(8 * MiB, usage.private_bytes);
	EXPECT_EQ(0, usage.shared_bytes);
	clone = open_clone(self->fd, O_RDWR);
	EXPECT_EQ(0, usage_of(self->fd).private_bytes);
	EXPECT_EQ(8 * MiB, usage_of(self->fd).shared_bytes);
	EXPECT_EQ(8 * MiB, usage_of(clone).shared_bytes);
	/* A page that is stored to is that stream's, and the other's is the other's. */
	for (int i = 0; i < 10; i++)
		memory[i * 100 * PAGE] = 'y';
	for (int i = 0; i < 2; i++) {
		usage = usage_of(i ? clone : self->fd);
		EXPECT_EQ(10 * PAGE, usage.private_bytes);
		EXPECT_EQ(8 * MiB - 10 * PAGE, usage.shared_bytes);
	}
	/* What the clone leaves is the stream's alone. */
	close(clone);
	usage = usage_of(self->fd);
	EXPECT_EQ(8 * MiB, usage.private_bytes);
	EXPECT_EQ(0, usage.shared_bytes);
}

/* Those who fork by the hundred ask for the sum. */
TEST_F(usage, of_all_forks_is_true_to_the_page)
{
	long long private = 0;
	int forks[100];
	char *memory;

	ASSERT_EQ(0, set_length(self->fd, 4 * MiB));
	memory = map_ram(self->fd, 4 * MiB);
	ASSERT_NE(NULL, memory);
	memset(memory, 'x', 4 * MiB);
	for (int i = 0; i < 100; i++) {
		char *own;

		forks[i] = open_clone(self->fd, O_RDWR);
		ASSERT_LE(0, forks[i]);
		own = map_ram(forks[i], 4 * MiB);
		ASSERT_NE(NULL, own);
		for (int page = 0; page <= i % 3; page++)
			own[page * 70 * PAGE] = 'y';
		munmap(own, 4 * MiB);
	}
	for (int i = 0; i < 100; i++) {
		struct qemufile_usage usage = usage_of(forks[i]);

		EXPECT_EQ((i % 3 + 1) * PAGE, usage.private_bytes);
		EXPECT_EQ(4 * MiB - (i % 3 + 1) * PAGE, usage.shared_bytes);
		private += usage.private_bytes;
		close(forks[i]);
	}
	EXPECT_EQ(199 * PAGE, private);
	EXPECT_EQ(4 * MiB, usage_of(self->fd).private_bytes);
}

TEST_HARNESS_MAIN
