// SPDX-License-Identifier: GPL-2.0
/* One stream has one inode, whoever has it open, and whichever file was there first. */
#include <linux/fs.h>
#include <sys/inotify.h>

#include "harness.h"

FIXTURE(inode) {
	int device;
	int file;
	struct stat before;
};

FIXTURE_SETUP(inode)
{
	self->device = open_device(O_RDWR);
	ASSERT_LE(0, self->device);
	self->file = open_handle(self->device, O_RDWR);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(2 * PAGE, put_at(self->file, 0, 2 * PAGE, 1));
	ASSERT_EQ(0, fstat(self->file, &self->before));
}

FIXTURE_TEARDOWN(inode)
{
	close(self->device);
	close(self->file);
}

static bool is_same_inode(int fd, const struct stat *before)
{
	struct stat now;

	return fstat(fd, &now) == 0 && now.st_dev == before->st_dev &&
	       now.st_ino == before->st_ino;
}

static char *map(int fd, size_t len)
{
	char *memory = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Whether two mappings of the process are of the same inode. */
static bool map_the_same(const void *a, const void *b)
{
	const void *const wanted[] = { a, b };
	char line[512], found[2][64] = { "a", "b" };
	FILE *maps = fopen("/proc/self/maps", "re");

	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long start, inode;
		char device[32];

		if (sscanf(line, "%lx-%*x %*s %*s %31s %lu", &start, device, &inode) != 3)
			continue;
		for (int i = 0; i < 2; i++)
			if (start == (unsigned long)wanted[i])
				snprintf(found[i], sizeof(found[i]), "%s %lu", device, inode);
	}
	if (maps)
		fclose(maps);
	return strcmp(found[0], found[1]) == 0;
}

/* What was set of it, and its number, are kept while any handle lives. */
TEST_F(inode, stays_while_a_handle_of_any_kind_lives)
{
	struct stat st;

	ASSERT_EQ(0, fchmod(self->file, 0640));
	ASSERT_EQ(0, close(self->file));
	self->file = open_handle(self->device, O_RDWR);
	ASSERT_LE(0, self->file);
	EXPECT_TRUE(is_same_inode(self->file, &self->before));
	ASSERT_EQ(0, fstat(self->file, &st));
	EXPECT_EQ(S_IFREG | 0640, st.st_mode);
	EXPECT_EQ(2 * PAGE, st.st_size);
	EXPECT_EQ(2 * PAGE, right_at(self->file, 0, 2 * PAGE, 1));
}

TEST_F(inode, is_the_same_for_mappings_of_either_kind)
{
	char *by_device, *by_file;

	ASSERT_EQ(0, close(self->file));
	by_device = map(self->device, PAGE);
	ASSERT_NE(NULL, by_device);
	self->file = open_handle(self->device, O_RDWR);
	ASSERT_LE(0, self->file);
	by_file = map(self->file, PAGE);
	ASSERT_NE(NULL, by_file);
	EXPECT_TRUE(map_the_same(by_device, by_file));
	ASSERT_EQ(0, close(self->device));
	ASSERT_EQ(PAGE, right(by_device, PAGE, 0, 1));
	ASSERT_EQ(PAGE, put_at(self->file, 0, PAGE, 2));
	EXPECT_EQ(PAGE, right(by_device, PAGE, 0, 2));
	EXPECT_EQ(PAGE, right(by_file, PAGE, 0, 2));
	munmap(by_device, PAGE);
	munmap(by_file, PAGE);
}

/* Closes all that is open but for an O_PATH descriptor, which is returned. */
static int only_the_path(int *device, int *file)
{
	int path = reopen(*file, O_PATH);

	if (close(*device) || close(*file))
		return -1;
	*device = *file = -1;
	return path;
}

/* Reopened after the last handle, with another stream open in between. */
TEST_F(inode, is_found_again_through_o_path)
{
	for (int order = 0; order < 4; order++) {
		int path = only_the_path(&self->device, &self->file), other, again, more;
		char *memory;

		ASSERT_LE(0, path);
		other = open_file(O_RDWR);
		ASSERT_LE(0, other);
		again = reopen(path, O_RDWR);
		ASSERT_LE(0, again);
		if (order % 2)
			close(path);
		EXPECT_TRUE(is_same_inode(again, &self->before));
		memory = map(again, 2 * PAGE);
		ASSERT_NE(NULL, memory);
		ASSERT_EQ(2 * PAGE, right(memory, 2 * PAGE, 0, 1));
		more = open_handle(again, O_RDWR);
		ASSERT_LE(0, more);
		EXPECT_TRUE(is_same_inode(more, &self->before));

		/* The mapping sees what is done through any of them. */
		ASSERT_EQ(PAGE, put_at(more, 0, PAGE, 2));
		EXPECT_EQ(PAGE, right(memory, PAGE, 0, 2));
		ASSERT_EQ(0, ftruncate(more, 5));
		EXPECT_EQ(5, right(memory, 5, 0, 2));
		EXPECT_EQ(0, memory[5]);
		ASSERT_EQ(0, ftruncate(again, 0));
		ASSERT_EQ(2 * PAGE, put_at(again, 0, 2 * PAGE, 1));
		EXPECT_EQ(2 * PAGE, right(memory, 2 * PAGE, 0, 1));

		if (order / 2) {
			ASSERT_EQ(0, close(again));
			ASSERT_EQ(0, munmap(memory, 2 * PAGE));
		} else {
			ASSERT_EQ(0, munmap(memory, 2 * PAGE));
			ASSERT_EQ(0, close(again));
		}
		self->file = more;
		if (!(order % 2))
			close(path);
		close(other);
		/* There is no device to close in the next round. */
		self->device = dup(self->file);
		ASSERT_LE(0, self->device);
		EXPECT_TRUE(is_same_inode(self->file, &self->before));
	}
}

TEST_F(inode, is_of_one_file_system_with_all_others)
{
	int path = only_the_path(&self->device, &self->file), other, again;

	ASSERT_LE(0, path);
	other = open_file(O_RDWR);
	ASSERT_LE(0, other);
	again = reopen(path, O_RDWR);
	ASSERT_LE(0, again);
	EXPECT_EQ(0, ioctl(other, FICLONE, again)) TH_LOG("%m");
	EXPECT_EQ(2 * PAGE, right_at(other, 0, 2 * PAGE, 1));
	close(path);
	close(other);
	close(again);
}

/* Nobody in particular, who was given a handle for reading. */
static int as_nobody(int reader, const struct stat *before)
{
	int device = -1, path, again, more;
	char *memory;

	/* For /proc/self/fd. */
	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534) ||
	    prctl(PR_SET_DUMPABLE, 1))
		return 1;
	device = dup(reader);
	path = only_the_path(&device, &reader);
	if (path < 0)
		return 2;
	/* The parent has closed its own by now, so there is no handle on any stream. */
	again = reopen(path, O_RDONLY);
	if (again < 0)
		return 3;
	more = open_handle(again, O_RDONLY);
	memory = map(again, PAGE);
	if (more < 0 || !memory)
		return 4;
	if (!is_same_inode(again, before) || !is_same_inode(more, before))
		return 5;
	if (right(memory, PAGE, 0, 1) != PAGE)
		return 6;
	if (reopen(path, O_RDWR) != -1 || errno != EACCES)
		return 7;
	close(again);
	munmap(memory, PAGE);
	close(path);
	return right_at(more, 0, PAGE, 1) == PAGE ? 0 : 8;
}

TEST_F(inode, is_the_same_for_a_reader_without_rights)
{
	int reader = open_handle(self->device, O_RDONLY), ready[2];
	pid_t child;
	char byte;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, pipe(ready));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		close(ready[1]);
		close(self->device);
		close(self->file);
		/* Until the parent has closed the other end. */
		if (read(ready[0], &byte, 1) != 0)
			_exit(100);
		_exit(as_nobody(reader, &self->before));
	}
	close(reader);
	close(self->device);
	close(self->file);
	self->device = self->file = -1;
	close(ready[1]);
	close(ready[0]);
	EXPECT_EQ(0, status_of(child));
}

/* ---- watches ---- */

static int watch(struct __test_metadata *_metadata, int fd)
{
	int watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[64];

	ASSERT_LE(0, watcher);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ASSERT_LE(0, inotify_add_watch(watcher, path, IN_MODIFY | IN_DELETE_SELF));
	return watcher;
}

/* All that the watcher was told. */
static uint32_t watched(int watcher)
{
	char bytes[4096] __attribute__((aligned(8)));
	uint32_t events = 0;
	ssize_t len;

	while ((len = read(watcher, bytes, sizeof(bytes))) > 0) {
		for (char *next = bytes; next < bytes + len;) {
			struct inotify_event *event = (void *)next;

			events |= event->mask;
			next += sizeof(*event) + event->len;
		}
	}
	return events;
}

TEST_F(inode, is_watched_until_its_last_file_is_closed)
{
	int other = open_handle(self->file, O_RDWR), watcher;

	ASSERT_LE(0, other);
	watcher = watch(_metadata, self->file);
	ASSERT_EQ(0, ftruncate(self->file, PAGE));
	EXPECT_EQ(IN_MODIFY, watched(watcher));
	ASSERT_EQ(0, close(self->file));
	EXPECT_EQ(0, watched(watcher));
	ASSERT_EQ(0, ftruncate(other, 2 * PAGE));
	EXPECT_EQ(IN_MODIFY, watched(watcher));
	ASSERT_EQ(0, close(other));
	/* Closed, the device being open still. */
	EXPECT_EQ(IN_DELETE_SELF | IN_IGNORED, watched(watcher));
	self->file = open_handle(self->device, O_RDWR);
	ASSERT_LE(0, self->file);
	EXPECT_TRUE(is_same_inode(self->file, &self->before));
	close(watcher);
}

/* ---- races ---- */

#define SLOTS 3

struct race {
	_Atomic int fds[SLOTS];
	atomic_int over;
	atomic_int wrong;
	atomic_int found;
};

struct racer {
	struct race *race;
	unsigned int seed;
	int cpu;
};

/* Does one of the things that end or find an inode. Returns what is to be kept of it, or -1. */
static int race_once(struct race *race, unsigned int *seed)
{
	int action = draw(seed, 10), fd, made = -1;
	struct stat st;
	char *memory;

	fd = dup(race->fds[draw(seed, SLOTS)]);
	if (action == 0) {
		close(fd);
		return open_file(O_RDWR);
	}
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < PAGE) {
		/* The number has been another descriptor's meanwhile. */
	} else if (action < 4) {
		made = reopen(fd, O_PATH);
	} else if (action < 6) {
		made = reopen(fd, O_RDWR);
	} else if (action < 8) {
		/* EBADF for an O_PATH descriptor. */
		made = open_handle(fd, O_RDWR);
	} else {
		memory = map(fd, PAGE);
		if (memory) {
			race->wrong += right(memory, PAGE, 0, 1) != PAGE;
			munmap(memory, PAGE);
		}
	}
	if (made >= 0) {
		race->wrong += !is_same_inode(made, &st);
		race->found++;
	}
	close(fd);
	return made;
}

static void *run_racer(void *arg)
{
	struct racer *racer = arg;
	struct race *race = racer->race;

	pin_to(racer->cpu);
	while (!race->over) {
		int fd = race_once(race, &racer->seed);

		/* A new stream has its bytes before anybody finds it. */
		if (fd >= 0 && length_of(fd) == 0)
			put_at(fd, 0, PAGE, 1);
		close(atomic_exchange(&race->fds[draw(&racer->seed, SLOTS)], fd));
		/* Now and then nothing is left but the way to open it again. */
		if (draw(&racer->seed, 16) == 0) {
			fd = reopen(race->fds[0], O_PATH);
			for (int i = 0; i < SLOTS; i++)
				close(atomic_exchange(&race->fds[i], i == 0 ? fd : -1));
		}
	}
	return NULL;
}

TEST_F(inode, is_one_while_files_come_and_go)
{
	struct race race = { .fds = { -1, -1, -1 } };
	struct racer racers[3];
	pthread_t threads[3];

	close(self->device);
	close(self->file);
	self->device = self->file = -1;
	for (int i = 0; i < 3; i++) {
		racers[i] = (struct racer){ .race = &race, .seed = i + 1, .cpu = i };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, run_racer, &racers[i]));
	}
	sleep_ms(2 * RACE_MS);
	race.over = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < SLOTS; i++)
		close(race.fds[i]);
	EXPECT_EQ(0, race.wrong);
	EXPECT_LT(0, race.found);
}

/* The last reference to an inode may be a watch's, when no file keeps the mount. */
TEST_F(inode, a_watch_may_be_the_last_to_know_the_file)
{
	const int rounds = clock_is_coarse() ? 40 : 200;

	for (int round = 0; round < rounds; round++) {
		int watcher = inotify_init1(IN_CLOEXEC), file = open_file(O_RDWR), watch;
		char path[64];

		ASSERT_LE(0, watcher);
		ASSERT_LE(0, file);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
		watch = inotify_add_watch(watcher, path, IN_MODIFY);
		ASSERT_LE(0, watch);
		if (round % 2)
			inotify_rm_watch(watcher, watch);
		ASSERT_EQ(0, close(file));
		ASSERT_EQ(0, close(watcher));
	}
}

TEST_HARNESS_MAIN
