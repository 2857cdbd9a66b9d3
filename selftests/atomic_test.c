// SPDX-License-Identifier: GPL-2.0
/*
 * RWF_ATOMIC, the IO_UNIT of other systems: the write is done whole, or length,
 * position and bytes are as they were.
 */
#include "harness.h"

STREAM_FIXTURE(atomic)

static ssize_t write_atomically(int fd, void *memory, size_t len, off_t pos)
{
	struct iovec iov = { .iov_base = memory, .iov_len = len };

	return pwritev2(fd, &iov, 1, pos, RWF_ATOMIC);
}

TEST_F(atomic, a_write_that_fits_is_done)
{
	const long long lens[] = { 1, PAGE, CHUNK + 1, NODE - 1, SLICE, 3 * SLICE + 5, 20 * MiB };
	char *memory = fresh_memory(20 * MiB);

	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		long long len = lens[i];

		fill(memory, len, 3, 1 + i);
		ASSERT_EQ(len, write_atomically(self->fd, memory, len, 3)) TH_LOG("%lld", len);
		ASSERT_EQ(3 + len, length_of(self->fd));
		ASSERT_EQ(len, right_at(self->fd, 3, len, 1 + i));
		/* At the position, over it. */
		ASSERT_EQ(3, lseek(self->fd, 3, SEEK_SET));
		fill(memory, len, 3, 50 + i);
		ASSERT_EQ(len, write_atomically(self->fd, memory, len, -1));
		ASSERT_EQ(3 + len, lseek(self->fd, 0, SEEK_CUR));
		ASSERT_EQ(len, right_at(self->fd, 3, len, 50 + i));
	}
}

TEST_F(atomic, from_memory_that_was_never_touched)
{
	char *memory = fresh_memory(3 * SLICE);

	ASSERT_NE(NULL, memory);
	fill(memory + 2 * SLICE, PAGE, 2 * SLICE, 1);
	EXPECT_EQ(3 * SLICE, write_atomically(self->fd, memory, 3 * SLICE, 0));
	EXPECT_EQ(2 * SLICE, right_at(self->fd, 0, 2 * SLICE, ZEROS));
	EXPECT_EQ(PAGE, right_at(self->fd, 2 * SLICE, PAGE, 1));
	EXPECT_EQ(SLICE - PAGE, right_at(self->fd, 2 * SLICE + PAGE, SLICE - PAGE, ZEROS));
}

TEST_F(atomic, vectors_are_one_write)
{
	static unsigned char memory[37 * IOV_MAX];
	static struct iovec iov[IOV_MAX];

	fill(memory, sizeof(memory), 100, 1);
	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){ .iov_base = memory + 37 * i, .iov_len = 37 };
	EXPECT_EQ(37 * IOV_MAX, pwritev2(self->fd, iov, IOV_MAX, 100, RWF_ATOMIC));
	EXPECT_EQ(37 * IOV_MAX, right_at(self->fd, 100, 37 * IOV_MAX, 1));
}

/* Nothing, whatever stood before the fault, and whatever stood in the stream. */
TEST_F(atomic, a_fault_in_the_last_vector_undoes_all)
{
	const long long goods[] = { 1, PAGE, CHUNK + 1, NODE + 1, SLICE + 1, 5 * SLICE };
	/* Where the stream ends: before the write, in it, after it. */
	const long long ends[] = { 0, 5, PAGE + 1, SLICE / 2, 6 * SLICE };
	char *memory = fresh_memory(5 * SLICE);

	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		for (size_t j = 0; j < ARRAY_LEN(ends); j++) {
			struct iovec iov[3] = {
				{ .iov_base = memory, .iov_len = goods[i] / 2 },
				{ .iov_base = memory, .iov_len = goods[i] - goods[i] / 2 },
				{ .iov_base = nowhere(), .iov_len = 1 },
			};
			int fd = variant->open(O_RDWR);

			ASSERT_LE(0, fd);
			fill(memory, goods[i], 0, 2);
			ASSERT_EQ(ends[j], put_at(fd, 0, ends[j], 1));
			ASSERT_EQ(10, lseek(fd, 10, SEEK_SET));
			ASSERT_EQ(EFAULT, ERRNO_OF(pwritev2(fd, iov, 3, -1, RWF_ATOMIC)));
			ASSERT_EQ(10, lseek(fd, 0, SEEK_CUR));
			ASSERT_EQ(EFAULT, ERRNO_OF(pwritev2(fd, iov, 3, 3, RWF_ATOMIC)));
			ASSERT_EQ(ends[j], length_of(fd)) TH_LOG("%lld", goods[i]);
			ASSERT_EQ(ends[j], right_at(fd, 0, ends[j], 1)) TH_LOG("%lld", goods[i]);
			/* Nor is any of it there once the stream is longer. */
			ASSERT_EQ(1, put_at(fd, 7 * SLICE, 1, 1));
			ASSERT_EQ(7 * SLICE - ends[j],
				  right_at(fd, ends[j], 7 * SLICE - ends[j], ZEROS));
			close(fd);
		}
	}
}

TEST_F(atomic, an_append_that_faults_undoes_all)
{
	struct iovec iov[2] = {
		{ .iov_base = "0123456789", .iov_len = 10 },
		{ .iov_base = nowhere(), .iov_len = 1 },
	};

	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwritev2(self->fd, iov, 2, -1, RWF_ATOMIC | RWF_APPEND)));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwritev2(self->fd, iov, 2, -1, RWF_ATOMIC)));
	EXPECT_EQ(10, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(1000, length_of(self->fd));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
}

TEST_F(atomic, what_rlimit_fsize_would_cut_is_efbig)
{
	struct rlimit limit = { .rlim_cur = 2000, .rlim_max = RLIM_INFINITY };
	char memory[200];

	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	fill(memory, 200, 0, 2);
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(EFBIG, ERRNO_OF(write_atomically(self->fd, memory, 200, 1801)));
	EXPECT_EQ(EFBIG, ERRNO_OF(write_atomically(self->fd, memory, 200, 2000)));
	EXPECT_EQ(1000, length_of(self->fd));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(10, lseek(self->fd, 0, SEEK_CUR));
	/* The rest is the same limit's, and a write that keeps it is done. */
	fill(memory, 200, 1800, 2);
	EXPECT_EQ(200, write_atomically(self->fd, memory, 200, 1800));
	EXPECT_EQ(200, right_at(self->fd, 1800, 200, 2));
	EXPECT_EQ(2000, length_of(self->fd));
}

TEST_F(atomic, what_the_largest_offset_would_cut_is_efbig)
{
	char memory[20] = {};

	ASSERT_EQ(10, put_at(self->fd, OFFSET_MAX - 20, 10, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(EFBIG, ERRNO_OF(write_atomically(self->fd, memory, 11, -1)));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(OFFSET_MAX - 10, length_of(self->fd));
	EXPECT_EQ(10, write_atomically(self->fd, memory, 10, -1));
	EXPECT_EQ(OFFSET_MAX, length_of(self->fd));
}

struct writer {
	int fd;
	char *memory;
	size_t len;
	char letter;
	atomic_int *over;
	int failed;
	long long writes;
};

static void *write_letters(void *arg)
{
	struct writer *writer = arg;

	pin_to(writer->letter);
	memset(writer->memory, writer->letter, writer->len);
	while (!*writer->over) {
		ssize_t put = write_atomically(writer->fd, writer->memory, writer->len, 5);

		writer->failed |= put != (ssize_t)writer->len;
		writer->writes++;
	}
	return NULL;
}

/* Two threads write over each other: whoever reads sees the write of one of them. */
TEST_F(atomic, readers_see_a_write_whole)
{
	const size_t len = NODE + 3 * PAGE + 7;
	atomic_int over = 0;
	struct writer writers[2];
	char *memory = fresh_memory(len);
	long long end = now_ms() + RACE_MS;
	pthread_t threads[2];

	ASSERT_NE(NULL, memory);
	memset(memory, 'a', len);
	ASSERT_EQ((ssize_t)len, pwrite(self->fd, memory, len, 5));
	for (int i = 0; i < 2; i++) {
		writers[i] = (struct writer){
			.fd = self->fd, .memory = fresh_memory(len), .len = len,
			.letter = 'a' + i, .over = &over,
		};
		ASSERT_NE(NULL, writers[i].memory);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, write_letters, &writers[i]));
	}
	while (now_ms() < end) {
		ASSERT_EQ((ssize_t)len, pread(self->fd, memory, len, 5));
		ASSERT_EQ(0, memcmp(memory, memory + 1, len - 1));
		ASSERT_TRUE(memory[0] == 'a' || memory[0] == 'b');
	}
	over = 1;
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, writers[i].failed);
		EXPECT_LT(0, writers[i].writes);
	}
	EXPECT_EQ(5 + (long long)len, length_of(self->fd));
}

TEST_HARNESS_MAIN
