// SPDX-License-Identifier: GPL-2.0
/*
 * A stream that is mapped and stored to, while everything else happens to it.
 * What was stored is there, a clone is one consistent cut, and nobody sees bytes
 * that nobody wrote.
 */
#include <linux/fs.h>
#include <sys/sendfile.h>

#include "harness.h"
#include "ram.h"

STREAM_FIXTURE(ram_race)

/* The pages that are counted in: in several leaves of the tree, with others between. */
#define PAGES 96
#define STRIDE (3 * PAGE)
#define LENGTH (PAGES * STRIDE)
/* What the others write is behind these bytes of a page. */
#define COUNTERS 64
#define MAX_STORERS 4

/*
 * A storer's counter is a word of each page. It goes through the pages in order,
 * and adds one to each, so at any time the counters are n in the first pages, and
 * n - 1 in the rest.
 */
struct storer {
	struct __test_metadata *_metadata;
	volatile uint64_t *counter;
	atomic_int *over;
	uint64_t rounds;
	bool lost;
};

#define COUNTER(memory, page, who) \
	((volatile uint64_t *)((memory) + (page) * STRIDE) + (who))

static void *store(void *arg)
{
	struct storer *storer = arg;
	volatile char *memory = (volatile char *)storer->counter;

	while (!atomic_load(storer->over)) {
		storer->rounds++;
		for (int page = 0; page < PAGES; page++) {
			volatile uint64_t *counter = COUNTER(memory, page, 0);

			/* Nobody else stores to it. */
			if (*counter != storer->rounds - 1)
				storer->lost = true;
			*counter = storer->rounds;
		}
	}
	return NULL;
}

/* Whether the counters of @who in @bytes are as at one moment. */
static bool is_a_cut(const char *bytes, int who)
{
	uint64_t first = *COUNTER(bytes, 0, who);
	bool is_behind = false;

	for (int page = 1; page < PAGES; page++) {
		uint64_t count = *COUNTER(bytes, page, who);

		is_behind |= count != first;
		if (count != (is_behind ? first - 1 : first))
			return false;
	}
	return true;
}

/* Takes clones until it is told to stop. Each has to be a cut, and to stand still. */
static int check_clones(int fd, int storers, atomic_int *over, int *taken)
{
	char *bytes = fresh_memory(LENGTH), *again = fresh_memory(LENGTH);

	while (!atomic_load(over)) {
		int clone = open_clone(fd, O_RDWR);

		if (clone < 0 || pread(clone, bytes, LENGTH, 0) != LENGTH)
			return 1;
		for (int who = 0; who < storers; who++)
			if (!is_a_cut(bytes, who))
				return 2;
		/* What is stored in the clone is its own. */
		if (*taken % 4 == 0) {
			char *memory = map_ram(clone, LENGTH);

			if (!memory)
				return 3;
			for (int page = 0; page < PAGES; page++)
				*COUNTER(memory, page, MAX_STORERS) = 1000 + page;
			for (int page = 0; page < PAGES; page++)
				*COUNTER(bytes, page, MAX_STORERS) = 1000 + page;
			munmap(memory, LENGTH);
		}
		if (pread(clone, again, LENGTH, 0) != LENGTH)
			return 4;
		if (memcmp(bytes, again, LENGTH))
			return 5;
		close(clone);
		++*taken;
	}
	return 0;
}

struct race {
	int fd;
	atomic_int over;
	int taken;
	int result;
	int storers;
};

static void *clone_on_and_on(void *arg)
{
	struct race *race = arg;

	race->result = check_clones(race->fd, race->storers, &race->over, &race->taken);
	return NULL;
}

/* Everything that reads, moves, shares or replaces pages, beside the counters. */
static void *meddle(void *arg)
{
	struct race *race = arg;
	char *bytes = fresh_memory(4 * STRIDE), *memory = map_ram(race->fd, LENGTH + MiB);
	int file = open_handle(race->fd, O_RDWR), ends[2];
	unsigned int seed = 1;

	memset(bytes, 'm', 4 * STRIDE);
	if (pipe2(ends, O_NONBLOCK) || file < 0 || !memory)
		return "set-up";
	while (!atomic_load(&race->over)) {
		long long page = rand_r(&seed) % (PAGES - 2) * STRIDE;
		/* From the middle of a page to the middle of the next but one that counts. */
		struct iovec vec = { bytes, 2 * PAGE };
		loff_t pos = page;
		pid_t child;

		switch (rand_r(&seed) % 10) {
		case 0:
			pwrite(race->fd, bytes, 1000, page + COUNTERS);
			break;
		case 1:
			pwritev2(race->fd, &vec, 1, page + PAGE, RWF_ATOMIC);
			vec.iov_len = 2 * PAGE - COUNTERS;
			pwritev2(race->fd, &vec, 1, page + COUNTERS, RWF_ATOMIC);
			break;
		case 2:
			if (splice(race->fd, &pos, ends[1], NULL, 2 * PAGE, SPLICE_F_NONBLOCK) > 0)
				while (read(ends[0], bytes + 2 * STRIDE, 2 * PAGE) == 2 * PAGE)
					;
			memset(bytes, 'm', 4 * STRIDE);
			break;
		case 3:
			punch(race->fd, page + PAGE, 2 * PAGE);
			break;
		case 4:
			clone_range(file, file, page + PAGE, PAGE, page + 2 * PAGE);
			break;
		case 5:
			fallocate(file, 0, page, 3 * PAGE);
			break;
		case 6:
			set_length(race->fd, LENGTH + rand_r(&seed) % MiB);
			touch(memory + LENGTH + rand_r(&seed) % MiB, true);
			set_length(race->fd, LENGTH);
			break;
		case 7:
			mprotect(memory, LENGTH, PROT_READ);
			mprotect(memory, LENGTH, PROT_READ | PROT_WRITE);
			memory[page + PAGE + 5] = 'm';
			break;
		case 8:
			madvise(memory + page, 4 * PAGE, MADV_DONTNEED);
			if (set_flags(race->fd, QEMUFILE_STREAM_SEALED) == 0)
				return "sealed";
			break;
		case 9:
			child = fork();
			if (child == 0) {
				memory[page + PAGE + 7] = 'm';
				_exit(0);
			}
			waitpid(child, NULL, 0);
			break;
		}
	}
	munmap(memory, LENGTH + MiB);
	close(file);
	close(ends[0]);
	close(ends[1]);
	return NULL;
}

static void run(struct __test_metadata *_metadata, int fd, int storers, bool with_meddler)
{
	struct race race = { .fd = fd, .storers = storers };
	struct storer of[MAX_STORERS];
	pthread_t threads[MAX_STORERS], cloner, meddler;
	char *bytes = fresh_memory(LENGTH);
	void *trouble = NULL;

	ASSERT_EQ(0, set_length(fd, LENGTH));
	for (int i = 0; i < storers; i++) {
		/* Each has a mapping of its own. */
		char *memory = map_ram(fd, LENGTH);

		ASSERT_NE(NULL, memory);
		of[i] = (struct storer){
			._metadata = _metadata, .over = &race.over,
			.counter = (volatile uint64_t *)memory + i,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, store, &of[i]));
	}
	ASSERT_EQ(0, pthread_create(&cloner, NULL, clone_on_and_on, &race));
	if (with_meddler)
		ASSERT_EQ(0, pthread_create(&meddler, NULL, meddle, &race));
	sleep_ms(2 * RACE_MS);
	atomic_store(&race.over, 1);
	pthread_join(cloner, NULL);
	if (with_meddler)
		pthread_join(meddler, &trouble);
	EXPECT_EQ(NULL, trouble) TH_LOG("%s", (char *)trouble);
	EXPECT_EQ(0, race.result) TH_LOG("after %d clones: %m", race.taken);
	EXPECT_LT(0, race.taken);
	for (int i = 0; i < storers; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_FALSE(of[i].lost) TH_LOG("storer %d, round %lld", i, (long long)of[i].rounds);
		EXPECT_LT(0, of[i].rounds);
	}
	/* The stream has what was stored last. */
	ASSERT_EQ(LENGTH, pread(fd, bytes, LENGTH, 0));
	for (int i = 0; i < storers; i++)
		for (int page = 0; page < PAGES; page++)
			ASSERT_EQ(of[i].rounds, *COUNTER(bytes, page, i));
}

TEST_F(ram_race, a_clone_is_a_cut)
{
	run(_metadata, self->fd, 2, false);
}

TEST_F(ram_race, a_clone_is_a_cut_whatever_else_happens)
{
	run(_metadata, self->fd, 3, true);
}

/* The storers of another process, as the back end of a virtio device is one. */
TEST_F(ram_race, a_clone_is_a_cut_through_processes)
{
	atomic_int *over = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct race race = { .fd = self->fd, .storers = 2 };
	pthread_t cloner;
	pid_t children[2];

	ASSERT_NE(MAP_FAILED, over);
	ASSERT_EQ(0, set_length(self->fd, LENGTH));
	for (int i = 0; i < 2; i++) {
		children[i] = fork_child();
		if (children[i] == 0) {
			struct storer storer = {
				.counter = (volatile uint64_t *)map_ram(self->fd, LENGTH) + i,
				.over = over,
			};

			store(&storer);
			_exit(storer.lost);
		}
	}
	ASSERT_EQ(0, pthread_create(&cloner, NULL, clone_on_and_on, &race));
	sleep_ms(2 * RACE_MS);
	atomic_store(&race.over, 1);
	pthread_join(cloner, NULL);
	atomic_store(over, 1);
	EXPECT_EQ(0, race.result) TH_LOG("after %d clones: %m", race.taken);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, status_of(children[i]));
}

/* One stores to a page after the other in time, across threads: no clone has the later alone. */
struct relay {
	volatile uint64_t *first, *second;
	atomic_int *over;
	bool leads;
};

static void *relay(void *arg)
{
	struct relay *relay = arg;

	while (!atomic_load(relay->over)) {
		if (relay->leads) {
			if (*relay->first == *relay->second)
				*relay->first = *relay->first + 1;
		} else if (*relay->second != *relay->first) {
			*relay->second = *relay->first;
		}
	}
	return NULL;
}

TEST_F(ram_race, a_clone_has_no_effect_without_its_cause)
{
	volatile char *one = NULL, *other = NULL;
	long long end = now_ms() + 2 * RACE_MS;
	struct relay relays[2];
	pthread_t threads[2];
	atomic_int over = 0;
	uint64_t last = 0;
	int rounds = 0;

	ASSERT_EQ(0, set_length(self->fd, 2 * NODE));
	one = map_ram(self->fd, 2 * NODE);
	other = map_ram(self->fd, 2 * NODE);
	ASSERT_NE(NULL, one);
	ASSERT_NE(NULL, other);
	for (int i = 0; i < 2; i++) {
		volatile char *memory = i ? other : one;

		relays[i] = (struct relay){
			.first = (volatile uint64_t *)memory,
			.second = (volatile uint64_t *)(memory + NODE), .over = &over, .leads = !i,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, relay, &relays[i]));
	}
	while (now_ms() < end || rounds < 5) {
		int clone = open_clone(self->fd, O_RDONLY);
		uint64_t first, second;

		ASSERT_LE(0, clone);
		ASSERT_EQ(8, pread(clone, &second, 8, NODE));
		ASSERT_EQ(8, pread(clone, &first, 8, 0));
		ASSERT_TRUE(first == second || first == second + 1)
			TH_LOG("%lld, %lld", (long long)first, (long long)second);
		ASSERT_LE(last, second);
		last = second;
		close(clone);
		rounds++;
	}
	atomic_store(&over, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_LT(0, last);
}

TEST_HARNESS_MAIN
