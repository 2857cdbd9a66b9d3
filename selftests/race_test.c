// SPDX-License-Identifier: GPL-2.0
/* Threads and processes on one stream at once. Each test runs for a second or so. */
#include "harness.h"

STREAM_FIXTURE(race)

/* How a record is put into the stream. */
enum how { AT_POSITION, APPEND_BY_FLAG, APPEND_BY_PWRITE };

struct record {
	uint64_t who;
	uint64_t number;
	uint64_t words;		/* that follow, each the number's own */
};

struct scribe {
	struct __test_metadata *_metadata;
	int fd;
	uint64_t who;
	uint64_t count;
	enum how how;
};

enum { WORDS = 700 };

/* Writes @count records of many lengths. */
static void *write_records(void *arg)
{
	struct scribe *scribe = arg;
	struct __test_metadata *_metadata = scribe->_metadata;
	uint64_t words[WORDS + 3];
	unsigned int seed = scribe->who + 1;

	pin_to(scribe->who);
	for (uint64_t number = 0; number < scribe->count; number++) {
		uint64_t count = draw(&seed, draw(&seed, 8) ? 8 : WORDS);
		struct record *record = (struct record *)words;
		struct iovec iov[2] = {
			{ .iov_base = words, .iov_len = sizeof(*record) },
			{ .iov_base = words + 3, .iov_len = 8 * count },
		};
		ssize_t len = sizeof(*record) + 8 * count, put;

		*record = (struct record){ scribe->who, number, count };
		for (uint64_t i = 0; i < count; i++)
			words[3 + i] = word_at(number, 1 + scribe->who);
		put = scribe->how == APPEND_BY_FLAG ?
				pwritev2(scribe->fd, iov, 2, 0, RWF_APPEND) :
		      scribe->how == APPEND_BY_PWRITE ?
				pwrite(scribe->fd, words, len, 0) :
				writev(scribe->fd, iov, 2);
		ASSERT_EQ(len, put) TH_LOG("%m");
	}
	return NULL;
}

/* Checks that the stream is @scribes' records, each once, whole, in each one's order. */
static void check_records(struct __test_metadata *_metadata, int fd, int scribes, uint64_t count)
{
	uint64_t next[8] = {};
	off_t pos = 0, end = length_of(fd);

	while (pos < end) {
		uint64_t words[WORDS];
		struct record record;

		ASSERT_EQ((ssize_t)sizeof(record), pread(fd, &record, sizeof(record), pos));
		ASSERT_GT((uint64_t)scribes, record.who);
		ASSERT_EQ(next[record.who], record.number);
		ASSERT_GT(WORDS, record.words);
		pos += sizeof(record);
		ASSERT_EQ((ssize_t)(8 * record.words), pread(fd, words, 8 * record.words, pos));
		for (uint64_t i = 0; i < record.words; i++) {
			ASSERT_EQ(word_at(record.number, 1 + record.who), words[i]);
		}
		pos += 8 * record.words;
		next[record.who]++;
	}
	EXPECT_EQ(end, pos);
	for (int i = 0; i < scribes; i++) {
		EXPECT_EQ(count, next[i]);
	}
}

static void scribe_in_threads(struct __test_metadata *_metadata, int fd, enum how how)
{
	struct scribe scribes[4];
	pthread_t threads[4];

	for (int i = 0; i < 4; i++) {
		scribes[i] = (struct scribe){
			._metadata = _metadata, .fd = fd, .who = i, .count = 3000, .how = how,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, write_records, &scribes[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
	}
	check_records(_metadata, fd, 4, 3000);
}

TEST_F(race, threads_that_write_through_one_file_lose_nothing)
{
	scribe_in_threads(_metadata, self->fd, AT_POSITION);
	EXPECT_EQ(length_of(self->fd), lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(race, threads_that_append_by_flag_lose_nothing)
{
	scribe_in_threads(_metadata, self->fd, APPEND_BY_FLAG);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(race, threads_that_append_by_pwrite_lose_nothing)
{
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	scribe_in_threads(_metadata, self->fd, APPEND_BY_PWRITE);
}

TEST_F(race, processes_that_write_through_one_file_lose_nothing)
{
	pid_t children[3];

	for (int i = 0; i < 3; i++) {
		children[i] = fork_child();
		ASSERT_LE(0, children[i]);
		if (children[i] == 0) {
			struct scribe scribe = {
				._metadata = _metadata, .fd = self->fd, .who = i, .count = 3000,
			};

			write_records(&scribe);
			_exit(0);
		}
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, status_of(children[i]));
	}
	check_records(_metadata, self->fd, 3, 3000);
}

struct reader {
	struct __test_metadata *_metadata;
	int fd;
	int cpu;
	atomic_uchar *taken;	/* one for each word */
	long long bytes;
};

static void *read_words(void *arg)
{
	struct reader *reader = arg;
	struct __test_metadata *_metadata = reader->_metadata;
	unsigned int seed = reader->cpu + 1;
	uint64_t words[600];

	pin_to(reader->cpu);
	for (;;) {
		ssize_t got = read(reader->fd, words, 8 * (1 + draw(&seed, 600)));

		ASSERT_LE(0, got);
		if (got == 0)
			break;
		ASSERT_EQ(0, got % 8);
		for (ssize_t i = 0; i < got / 8; i++) {
			ASSERT_EQ(words[0] + i, words[i]);
			ASSERT_EQ(0, atomic_fetch_add(&reader->taken[words[i]], 1));
		}
		reader->bytes += got;
	}
	return NULL;
}

TEST_F(race, threads_that_read_through_one_file_get_each_byte_once)
{
	const size_t count = MiB;
	uint64_t *words = fresh_memory(8 * count);
	atomic_uchar *taken = fresh_memory(count);
	struct reader readers[4];
	pthread_t threads[4];
	long long bytes = 0;

	ASSERT_NE(NULL, words);
	ASSERT_NE(NULL, taken);
	for (size_t i = 0; i < count; i++)
		words[i] = i;
	ASSERT_EQ(8 * (ssize_t)count, pwrite(self->fd, words, 8 * count, 0));
	for (int i = 0; i < 4; i++) {
		readers[i] = (struct reader){
			._metadata = _metadata, .fd = self->fd, .cpu = i, .taken = taken,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, read_words, &readers[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		bytes += readers[i].bytes;
	}
	EXPECT_EQ(8 * (long long)count, bytes);
	EXPECT_EQ(8 * (long long)count, lseek(self->fd, 0, SEEK_CUR));
}

enum { REACH = 3 << 20 };

struct meddler {
	struct __test_metadata *_metadata;
	int fd;
	int cpu;
	atomic_int *over;
	long long calls;
};

/* Calls of all kinds. What is written depends on its place alone. */
static void *meddle(void *arg)
{
	struct meddler *meddler = arg;
	struct __test_metadata *_metadata = meddler->_metadata;
	unsigned int seed = meddler->cpu + 1;
	char *memory = fresh_memory(MiB);
	int fd = meddler->fd;

	pin_to(meddler->cpu);
	while (!*meddler->over) {
		long long pos = draw(&seed, REACH - MiB);
		long long len = draw(&seed, draw(&seed, 10) ? 10000 : MiB);
		struct iovec iov[2] = {
			{ .iov_base = memory, .iov_len = len / 3 },
			{ .iov_base = memory + len / 3, .iov_len = len - len / 3 },
		};
		ssize_t got;

		meddler->calls++;
		switch (draw(&seed, 8)) {
		case 0:
			fill(memory, len, pos, 1);
			ASSERT_EQ(len, pwrite(fd, memory, len, pos));
			break;
		case 1:
			fill(memory, len, pos, 1);
			ASSERT_EQ(len, pwritev2(fd, iov, 2, pos, RWF_ATOMIC));
			break;
		case 2:
		case 3:
			got = pread(fd, memory, len, pos);
			ASSERT_LE(0, got);
			for (ssize_t i = 0; i < got; i += 61) {
				ASSERT_TRUE(memory[i] == 0 ||
					    memory[i] == (char)byte_at(pos + i, 1));
			}
			break;
		case 4:
			got = lseek(fd, pos, draw(&seed, 2) ? SEEK_DATA : SEEK_HOLE);
			ASSERT_TRUE(got >= pos || errno == ENXIO);
			break;
		case 5:
			ASSERT_LE(0, read(fd, memory, len));
			break;
		case 6:
			ASSERT_LE(0, lseek(fd, 0, SEEK_END));
			ASSERT_EQ(POLLIN | POLLOUT, polled(fd, POLLIN | POLLOUT));
			break;
		case 7:
			ASSERT_EQ(0, fsync(fd));
			break;
		}
	}
	munmap(memory, MiB);
	return NULL;
}

TEST_F(race, calls_of_all_kinds_at_once)
{
	struct meddler meddlers[4];
	pthread_t threads[4];
	atomic_int over = 0;

	for (int i = 0; i < 4; i++) {
		meddlers[i] = (struct meddler){
			._metadata = _metadata, .fd = self->fd, .cpu = i, .over = &over,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, meddle, &meddlers[i]));
	}
	sleep_ms(RACE_MS);
	over = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, meddlers[i].calls);
	}
	EXPECT_GE(REACH, length_of(self->fd));
}

struct onlookers {
	struct __test_metadata *_metadata;
	int fd;
	atomic_int over;
	atomic_int next;
	atomic_llong calls[5];
};

/* Whether each byte is a zero, or the one that is written at its position. */
static bool may_be(const char *memory, ssize_t len, off_t pos)
{
	for (ssize_t i = 0; i < len; i += i + 61 < len || i + 1 == len ? 61 : len - 1 - i)
		if (memory[i] != 0 && memory[i] != (char)byte_at(pos + i, 1))
			return false;
	return true;
}

/* Bytes of a handle that only reads, by pread, now and then without waiting for a lock. */
static void look_by_pread(struct onlookers *all, char *memory, int fd, unsigned int *seed)
{
	struct __test_metadata *_metadata = all->_metadata;
	size_t len = 1 + draw(seed, draw(seed, 4) ? 10000 : MiB);
	struct iovec iov = { .iov_base = memory, .iov_len = len };
	off_t pos = draw(seed, REACH);
	ssize_t got = preadv2(fd, &iov, 1, pos, draw(seed, 4) ? 0 : RWF_NOWAIT);

	/* At the end, as somebody may still write; or where the lock is not free. */
	if (got < 0)
		ASSERT_EQ(EAGAIN, errno);
	ASSERT_TRUE(may_be(memory, got, pos));
}

/* A byte of a mapping. A system call gets an error where the mapping has no page. */
static void look_by_mapping(struct onlookers *all, char *map, int pipe[2], unsigned int *seed)
{
	struct __test_metadata *_metadata = all->_metadata;
	off_t pos = draw(seed, REACH);
	char byte;

	if (write(pipe[1], map + pos, 1) == 1) {
		ASSERT_EQ(1, read(pipe[0], &byte, 1));
		ASSERT_TRUE(may_be(&byte, 1, pos));
	} else {
		ASSERT_EQ(EFAULT, errno);
	}
}

static void *look_on_in_parallel(void *arg)
{
	struct onlookers *all = arg;
	struct __test_metadata *_metadata = all->_metadata;
	int fd = open_handle(all->fd, O_RDONLY | O_NONBLOCK), who = all->next++, pipes[2];
	unsigned int seed = who + 1;
	char *memory = fresh_memory(MiB), *map;

	map = mmap(NULL, REACH, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_LE(0, fd);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, pipe(pipes));
	pin_to(who);
	do {
		long long pos = draw(&seed, REACH - MiB), len = 1 + draw(&seed, 100000);
		int clone;

		all->calls[who]++;
		switch (who) {
		case 0:
		case 1:
			look_by_pread(all, memory, fd, &seed);
			break;
		case 2:
			look_by_mapping(all, map, pipes, &seed);
			break;
		case 3:
			fill(memory, len, pos, 1);
			ASSERT_EQ(len, pwrite(all->fd, memory, len, pos));
			break;
		case 4:
			ASSERT_EQ(0, set_length(all->fd, draw(&seed, REACH)));
			ASSERT_EQ(0, punch(all->fd, pos, len));
			clone = open_clone(all->fd, O_RDWR);
			ASSERT_LE(0, clone);
			ASSERT_EQ(0, set_length(clone, REACH));
			ASSERT_EQ(len, pread(clone, memory, len, pos));
			ASSERT_TRUE(may_be(memory, len, pos));
			close(clone);
			break;
		}
	} while (!all->over);
	munmap(map, REACH);
	munmap(memory, MiB);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
	return NULL;
}

TEST_F(race, readers_in_parallel_see_what_was_written_and_nothing_else)
{
	struct onlookers all = { ._metadata = _metadata, .fd = self->fd };
	pthread_t threads[5];

	for (int i = 0; i < 5; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, look_on_in_parallel, &all));
	sleep_ms(RACE_MS);
	all.over = 1;
	for (int i = 0; i < 5; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, all.calls[i]);
	}
}

struct descriptor {
	atomic_int fd;
	atomic_int over;
	long long calls;
};

static void *use_descriptor(void *arg)
{
	struct descriptor *descriptor = arg;
	char memory[PAGE + 100];

	pin_to(1);
	while (!descriptor->over) {
		int fd = descriptor->fd;

		pwrite(fd, memory, sizeof(memory), 50);
		pread(fd, memory, sizeof(memory), 0);
		lseek(fd, 0, SEEK_END);
		polled(fd, POLLIN);
		fsync(fd);
		descriptor->calls++;
	}
	return NULL;
}

/* Says where the threads of this process are, if the test has not ended in 15 s. */
static void *tell_where_all_are(void *arg)
{
	atomic_int *over = arg;
	char command[200];

	for (int i = 0; i < 150 && !*over; i++)
		sleep_ms(100);
	if (*over)
		return NULL;
	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*; do echo $t; cat $t/syscall $t/stack; done | sed 's/^/# /'",
		 getpid());
	if (system(command))
		printf("# %s failed\n", command);
	return NULL;
}

/*
 * The last descriptor is closed while another thread is in a call on it.
 *
 * No read waits for a writer here, because that wait may not end, as on a pipe. The
 * number that the thread looks up is closed and used again. So for a moment the kernel
 * may take a reference to another file (__fget_files_rcu()). If that is the last one,
 * the file is released when the thread's call returns (fput()). A read in this call
 * would wait for a writer that goes only after it.
 */
TEST_F(race, files_are_closed_under_calls)
{
	struct descriptor descriptor = { .fd = -1 };
	long long end = now_ms() + RACE_MS;
	pthread_t thread, watcher;
	atomic_int ended = 0;

	ASSERT_EQ(0, pthread_create(&watcher, NULL, tell_where_all_are, &ended));
	ASSERT_EQ(0, pthread_create(&thread, NULL, use_descriptor, &descriptor));
	pin_to(0);
	while (now_ms() < end) {
		int fd = variant->open(O_RDWR | O_NONBLOCK);

		ASSERT_LE(0, fd);
		descriptor.fd = fd;
		for (int i = 0; i < 20; i++)
			lseek(fd, 0, SEEK_CUR);
		ASSERT_EQ(0, close(fd));
	}
	descriptor.over = 1;
	pthread_join(thread, NULL);
	ended = 1;
	pthread_join(watcher, NULL);
	EXPECT_LT(0, descriptor.calls);
}

/* Killed in the middle of a write: what is there is right, and goes on. */
TEST_F(race, writers_are_killed)
{
	const long long len = 16 * MiB;
	unsigned int seed = 1;

	for (int round = 0; round < 10; round++) {
		int fd = variant->open(O_RDWR);
		char *memory;
		pid_t child;
		long long end;

		ASSERT_LE(0, fd);
		child = fork_child();
		ASSERT_LE(0, child);
		if (child == 0) {
			memory = fresh_memory(len);
			fill(memory, MiB, 0, 1);
			for (;;)
				for (off_t pos = 0; pos < len; pos += MiB) {
					fill(memory, PAGE, pos, 1);
					pwrite(fd, memory, len - pos, pos);
				}
		}
		sleep_ms(20 + draw(&seed, 60));
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(128 + SIGKILL, status_of(child));
		end = length_of(fd);
		ASSERT_GE(len, end);
		for (off_t pos = 0; pos + PAGE <= end; pos += 10 * MiB) {
			long long good = right_at(fd, pos, PAGE, 1);

			EXPECT_TRUE(good == PAGE || good == right_at(fd, pos, PAGE, ZEROS) ||
				    pos > 0);
		}
		ASSERT_EQ(len, put_at(fd, 0, len, 2));
		ASSERT_EQ(len, right_at(fd, 0, len, 2));
		ASSERT_EQ(0, close(fd));
	}
}

TEST_HARNESS_MAIN
