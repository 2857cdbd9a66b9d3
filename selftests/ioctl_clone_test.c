// SPDX-License-Identifier: GPL-2.0
/* QEMUFILE_IOC_CLONE: a new stream with the same bytes, which share their memory. */
#include "harness.h"

STREAM_FIXTURE(clone)

TEST_F(clone, has_the_sources_bytes_and_length)
{
	const long long lens[] = { 0, 1, PAGE, PAGE + 1, CHUNK - 1, NODE + 7, 3 * MiB + 1 };

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		int copy;

		ASSERT_EQ(lens[i], put_at(self->fd, 0, lens[i], 1));
		copy = open_clone(self->fd, O_RDWR);
		ASSERT_LE(0, copy) TH_LOG("%m");
		/* QEMU's would have the length of the source's memory. */
		EXPECT_EQ(lens[i], length_of(copy));
		EXPECT_EQ(lens[i], right_at(copy, 0, lens[i], 1));
		EXPECT_EQ(0, close(copy));
	}
}

TEST_F(clone, is_a_stream_of_its_own)
{
	struct qemufile_info info;
	char bytes[100];
	int copy;

	ASSERT_EQ(100, write(self->fd, fill(bytes, 100, 0, 1), 100));
	copy = open_clone(self->fd, O_RDONLY);
	ASSERT_LE(0, copy);
	info = info_of(copy);
	EXPECT_EQ(0, info.position);
	EXPECT_EQ(1, info.readers);
	EXPECT_EQ(0, info.writers);
	EXPECT_EQ(0, info.error);
	/* Nobody can write to it: its end is the end. */
	EXPECT_EQ(100, read(copy, bytes, 100));
	EXPECT_EQ(0, read(copy, bytes, 100));
	EXPECT_EQ(FD_CLOEXEC, fcntl(copy, F_GETFD));
	EXPECT_EQ(1, info_of(self->fd).readers);
	EXPECT_EQ(0, close(copy));
}

TEST_F(clone, writes_show_on_neither_other_side)
{
	const long long places[] = { 0, 5, PAGE - 1, CHUNK, NODE - 3, 2 * NODE + 100, 4 * NODE - 1 };
	const long long lens[] = { 1, 100, PAGE, PAGE + 9, NODE };
	int copy;

	ASSERT_EQ(4 * NODE, put_at(self->fd, 0, 4 * NODE, 1));
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			long long pos = places[i], len = lens[j];
			long long end = pos + len > 4 * NODE ? pos + len : 4 * NODE;

			copy = open_clone(self->fd, O_RDWR);
			ASSERT_LE(0, copy);
			/* To the clone. */
			ASSERT_EQ(len, put_at(copy, pos, len, 2));
			ASSERT_EQ(4 * NODE, right_at(self->fd, 0, 4 * NODE, 1));
			ASSERT_EQ(4 * NODE, length_of(self->fd));
			ASSERT_EQ(pos, right_at(copy, 0, pos, 1));
			ASSERT_EQ(len, right_at(copy, pos, len, 2));
			ASSERT_EQ(end, length_of(copy));
			if (pos + len < 4 * NODE) {
				ASSERT_EQ(4 * NODE - pos - len,
					  right_at(copy, pos + len, 4 * NODE - pos - len, 1));
			}
			/* To the source. */
			ASSERT_EQ(len, put_at(self->fd, pos, len, 3));
			ASSERT_EQ(len, right_at(copy, pos, len, 2));
			ASSERT_EQ(len, right_at(self->fd, pos, len, 3));
			ASSERT_EQ(len, put_at(self->fd, pos, len, 1));
			ASSERT_EQ(0, ftruncate(copy, 0));
			ASSERT_EQ(4 * NODE, right_at(self->fd, 0, 4 * NODE, 1));
			ASSERT_EQ(0, close(copy));
			/* The source as it was. */
			if (end > 4 * NODE) {
				struct qemufile_length length = { .length = 4 * NODE };

				ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LENGTH, &length));
			}
		}
	}
}

TEST_F(clone, truncating_and_punching_show_on_neither_other_side)
{
	struct qemufile_length length = { .length = NODE + 5 };
	struct qemufile_range range = { .start = 3, .length = NODE };
	int a, b;

	ASSERT_EQ(2 * NODE, put_at(self->fd, 0, 2 * NODE, 1));
	a = open_clone(self->fd, O_RDWR);
	b = open_clone(a, O_RDWR);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(0, ioctl(a, QEMUFILE_IOC_SET_LENGTH, &length));
	EXPECT_EQ(0, ioctl(b, QEMUFILE_IOC_PUNCH, &range));
	EXPECT_EQ(2 * NODE, right_at(self->fd, 0, 2 * NODE, 1));
	EXPECT_EQ(NODE + 5, right_at(a, 0, NODE + 5, 1));
	EXPECT_EQ(NODE + 5, length_of(a));
	EXPECT_EQ(NODE, right_at(b, 3, NODE, ZEROS));
	EXPECT_EQ(NODE - 3, right_at(b, NODE + 3, NODE - 3, 1));
	/* The last page, cut in one, is whole in the others. */
	length.length = 2 * NODE;
	EXPECT_EQ(0, ioctl(a, QEMUFILE_IOC_SET_LENGTH, &length));
	EXPECT_EQ(NODE - 5, right_at(a, NODE + 5, NODE - 5, ZEROS));
	EXPECT_EQ(2 * NODE, right_at(self->fd, 0, 2 * NODE, 1));
	close(a);
	close(b);
}

TEST_F(clone, outlives_the_source)
{
	int copy;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	copy = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, copy);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(MiB, right_at(copy, 0, MiB, 1));
	EXPECT_EQ(MiB, put_at(copy, 0, MiB, 2));
	EXPECT_EQ(MiB, right_at(copy, 0, MiB, 2));
	EXPECT_EQ(0, close(copy));
}

TEST_F(clone, of_a_sparse_stream_is_sparse)
{
	int copy;

	for (int i = 0; i < 45; i++) {
		ASSERT_EQ(1, put_at(self->fd, (1LL << i) * PAGE, 1, 1));
	}
	copy = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, copy);
	EXPECT_EQ((1LL << 44) * PAGE + 1, length_of(copy));
	for (int i = 0; i < 45; i++) {
		long long pos = (1LL << i) * PAGE;

		EXPECT_EQ(1, right_at(copy, pos, 1, 1));
		if (i >= 2) {
			EXPECT_EQ(pos, lseek(copy, pos - 1, SEEK_DATA));
		}
	}
	EXPECT_EQ(45 * PAGE, (long long)info_of(copy).allocated);
	close(copy);
}

TEST_F(clone, of_a_clone_of_a_clone)
{
	enum { COUNT = 50 };
	int fds[COUNT];

	fds[0] = dup(self->fd);
	ASSERT_EQ(COUNT * 10, put_at(fds[0], 0, COUNT * 10, 1));
	for (int i = 1; i < COUNT; i++) {
		fds[i] = open_clone(fds[i - 1], O_RDWR);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(10, put_at(fds[i], i * 10, 10, 2));
	}
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(10, right_at(fds[i], 0, 10, 1));
		ASSERT_EQ(i * 10, right_at(fds[i], 10, i * 10, 2));
		ASSERT_EQ((COUNT - 1 - i) * 10,
			  right_at(fds[i], (i + 1) * 10, (COUNT - 1 - i) * 10, 1));
	}
	for (int i = 0; i < COUNT; i++)
		close(fds[(i * 7) % COUNT]);
}

/* A hundred clones of 32 MiB: memory and time are those of one. */
TEST_F(clone, takes_neither_memory_nor_time)
{
	long long before, start;
	int fds[100];

	ASSERT_EQ(32 * MiB, put_at(self->fd, 0, 32 * MiB, 1));
	before = free_memory();
	start = now_ms();
	for (int i = 0; i < 100; i++) {
		fds[i] = open_clone(self->fd, O_RDWR);
		ASSERT_LE(0, fds[i]);
	}
	EXPECT_GT(2000, now_ms() - start);
	EXPECT_LT(before - 8 * MiB, free_memory());
	/* A page each, then, and what leads to it. */
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(1, put_at(fds[i], 7 * MiB + i, 1, 2));
	}
	EXPECT_LT(before - 16 * MiB, free_memory());
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(1, right_at(fds[i], 7 * MiB + i, 1, 2));
		ASSERT_EQ(0, close(fds[i]));
	}
	EXPECT_EQ(32 * MiB, right_at(self->fd, 0, 32 * MiB, 1));
}

struct rewriter {
	int fd;
	size_t len;
	atomic_int *over;
	long long writes;
};

static void *rewrite(void *arg)
{
	struct rewriter *rewriter = arg;
	char *memory = fresh_memory(rewriter->len);
	struct iovec iov = { .iov_base = memory, .iov_len = rewriter->len };

	pin_to(1);
	for (char letter = 'a'; !*rewriter->over; letter = letter == 'z' ? 'a' : letter + 1) {
		memset(memory, letter, rewriter->len);
		if (pwritev2(rewriter->fd, &iov, 1, 0, RWF_ATOMIC) != (ssize_t)rewriter->len)
			break;
		rewriter->writes++;
	}
	return NULL;
}

/* One thread writes all over, again and again; each clone is of one moment, for good. */
TEST_F(clone, is_of_one_moment)
{
	const size_t len = NODE + 5 * PAGE;
	char *memory = fresh_memory(len), *again = fresh_memory(len);
	atomic_int over = 0;
	struct rewriter rewriter = { .fd = self->fd, .len = len, .over = &over };
	long long end = now_ms() + RACE_MS;
	pthread_t thread;

	memset(memory, '-', len);
	ASSERT_EQ((ssize_t)len, pwrite(self->fd, memory, len, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, rewrite, &rewriter));
	pin_to(0);
	while (now_ms() < end) {
		int copy = open_clone(self->fd, O_RDWR);

		ASSERT_LE(0, copy);
		ASSERT_EQ((ssize_t)len, pread(copy, memory, len, 0));
		ASSERT_EQ(0, memcmp(memory, memory + 1, len - 1));
		ASSERT_EQ((ssize_t)len, pread(copy, again, len, 0));
		ASSERT_EQ(0, memcmp(memory, again, len));
		ASSERT_EQ(1, pwrite(copy, "#", 1, 100));
		ASSERT_EQ(0, close(copy));
	}
	over = 1;
	pthread_join(thread, NULL);
	EXPECT_LT(0, rewriter.writes);
	ASSERT_EQ((ssize_t)len, pread(self->fd, memory, len, 0));
	EXPECT_EQ(0, memcmp(memory, memory + 1, len - 1));
}

/* One stream is cloned, written to and closed by many at once. */
struct cloner {
	struct __test_metadata *_metadata;
	int fd;
	int who;
	atomic_int *over;
	long long clones;
};

static void *clone_and_write(void *arg)
{
	struct cloner *cloner = arg;
	struct __test_metadata *_metadata = cloner->_metadata;
	unsigned int seed = cloner->who + 1;

	pin_to(cloner->who);
	while (!*cloner->over) {
		int copy = open_clone(cloner->fd, O_RDWR), copy_of_copy;
		long long pos = draw(&seed, 2 * NODE), len = draw(&seed, NODE);

		ASSERT_LE(0, copy);
		ASSERT_EQ(len, put_at(copy, pos, len, 2 + cloner->who));
		copy_of_copy = open_clone(copy, O_RDWR);
		ASSERT_LE(0, copy_of_copy);
		ASSERT_EQ(len, right_at(copy, pos, len, 2 + cloner->who));
		ASSERT_EQ(0, close(copy));
		ASSERT_EQ(pos, right_at(copy_of_copy, 0, pos, 1));
		ASSERT_EQ(len, right_at(copy_of_copy, pos, len, 2 + cloner->who));
		ASSERT_EQ(0, close(copy_of_copy));
		cloner->clones++;
	}
	return NULL;
}

TEST_F(clone, by_many_at_once)
{
	struct cloner cloners[4];
	pthread_t threads[4];
	atomic_int over = 0;

	ASSERT_EQ(3 * NODE, put_at(self->fd, 0, 3 * NODE, 1));
	for (int i = 0; i < 4; i++) {
		cloners[i] = (struct cloner){
			._metadata = _metadata, .fd = self->fd, .who = i, .over = &over,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, clone_and_write, &cloners[i]));
	}
	sleep_ms(RACE_MS);
	over = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, cloners[i].clones);
	}
	EXPECT_EQ(3 * NODE, right_at(self->fd, 0, 3 * NODE, 1));
}

TEST_HARNESS_MAIN
