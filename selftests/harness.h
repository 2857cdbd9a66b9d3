/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of /dev/qemufile share, on top of the kernel's
 * kselftest_harness.h: streams to test, bytes that tell where they belong,
 * memory that faults, and threads and processes on processors of their own.
 */
#ifndef QEMUFILE_SELFTESTS_HARNESS_H
#define QEMUFILE_SELFTESTS_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/qemufile.h>

#include <kselftest_harness.h>

#define DEVICE "/dev/qemufile"

#define KiB 1024LL
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define TiB (1024 * GiB)

#define PAGE 4096LL
/* The largest run of pages that a stream takes at once. */
#define CHUNK (64 * KiB)
/* What hangs from one node of a stream's tree. */
#define NODE (256 * KiB)
/* After this many bytes a long call offers the stream to others. */
#define SLICE MiB

/* The largest offset. */
#define OFFSET_MAX INT64_MAX

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* The errno of a call that has failed, 0 if it has not. */
#define ERRNO_OF(call) ({ errno = 0; (call) == -1 ? errno : 0; })

/* ---- streams ---- */

static inline int open_device(int flags)
{
	return open(DEVICE, flags | O_CLOEXEC);
}

/*
 * The request for a handle with the access mode and the flags that open(2) would
 * have, as far as there are any for it.
 */
static inline struct qemufile_open opening(int flags)
{
	int mode = flags & O_ACCMODE;

	return (struct qemufile_open){
		.mode = (mode == O_WRONLY ? 0 : QEMUFILE_MODE_READ) |
			(mode == O_RDONLY ? 0 : QEMUFILE_MODE_WRITE),
		.flags = (flags & O_NONBLOCK ? QEMUFILE_OPEN_NONBLOCK : 0) |
			 (flags & O_APPEND ? QEMUFILE_OPEN_APPEND : 0),
	};
}

/* Another handle on the stream of @fd. */
static inline int open_handle(int fd, int flags)
{
	struct qemufile_open open = opening(flags);

	return ioctl(fd, QEMUFILE_IOC_BUFOPEN, &open);
}

/* A handle on a new stream with the bytes of @fd's. */
static inline int open_clone(int fd, int flags)
{
	struct qemufile_open open = opening(flags);

	return ioctl(fd, QEMUFILE_IOC_CLONE, &open);
}

/* The file of @fd opened once more, through /proc. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* A new stream, open as a regular file and not as the device. */
static inline int open_file(int flags)
{
	int device = open_device(flags & O_ACCMODE), fd, again;

	if (device < 0)
		return -1;
	fd = open_handle(device, flags);
	close(device);
	/* For flags that BUFOPEN does not know. */
	if (fd >= 0 && flags & ~(O_ACCMODE | O_NONBLOCK | O_APPEND)) {
		again = reopen(fd, flags);
		close(fd);
		fd = again;
	}
	return fd;
}

/*
 * A fixture with one stream, open for reading and writing; nobody else has it
 * open. Its tests run for each kind of file that a stream can be opened as.
 */
#define STREAM_FIXTURE(name)							\
	FIXTURE(name) {								\
		int fd;								\
	};									\
	FIXTURE_VARIANT(name) {							\
		int (*open)(int flags);						\
	};									\
	FIXTURE_VARIANT_ADD(name, device) {					\
		.open = open_device,						\
	};									\
	FIXTURE_VARIANT_ADD(name, file) {					\
		.open = open_file,						\
	};									\
	FIXTURE_SETUP(name)							\
	{									\
		self->fd = variant->open(O_RDWR);				\
		ASSERT_LE(0, self->fd) TH_LOG("no stream: %m");			\
	}									\
	FIXTURE_TEARDOWN(name)							\
	{									\
		close(self->fd);						\
	}

/* The length of the stream; the file's position stays. */
static inline long long length_of(int fd)
{
	off_t pos = lseek(fd, 0, SEEK_CUR);
	off_t end = lseek(fd, 0, SEEK_END);

	return pos < 0 || lseek(fd, pos, SEEK_SET) != pos ? -1 : end;
}

/* ---- bytes ---- */

/* The seed of bytes that are all zero. */
#define ZEROS 0

/* The eight bytes with the number @index of the sequence @seed. */
static inline uint64_t word_at(uint64_t index, unsigned int seed)
{
	uint64_t word = (index + ((uint64_t)seed << 56) + 1) * 0x9e3779b97f4a7c15ULL;

	return seed == ZEROS ? 0 : word ^ word >> 29;
}

/* The byte that the sequence @seed has at @pos. */
static inline unsigned char byte_at(uint64_t pos, unsigned int seed)
{
	return word_at(pos / 8, seed) >> 8 * (pos % 8);
}

/*
 * Fills memory with what the sequence @seed has from @pos on. Emulated, this and
 * right() take longer than what they test: a word at a time, where they can.
 */
static inline void *fill(void *memory, size_t len, uint64_t pos, unsigned int seed)
{
	unsigned char *bytes = memory;
	size_t i = 0;

	for (; i < len && (pos + i) % 8; i++)
		bytes[i] = byte_at(pos + i, seed);
	for (uint64_t index = (pos + i) / 8; len - i >= 8; i += 8) {
		uint64_t word = word_at(index++, seed);

		memcpy(bytes + i, &word, 8);
	}
	for (; i < len; i++)
		bytes[i] = byte_at(pos + i, seed);
	return memory;
}

/* How many bytes from the start are those of the sequence @seed from @pos on. */
static inline long long right(const void *memory, size_t len, uint64_t pos, unsigned int seed)
{
	const unsigned char *bytes = memory;
	size_t i = 0;

	while (i < len && (pos + i) % 8 && bytes[i] == byte_at(pos + i, seed))
		i++;
	if ((pos + i) % 8 == 0) {
		for (uint64_t index = (pos + i) / 8; len - i >= 8; i += 8) {
			uint64_t word = word_at(index++, seed);

			if (memcmp(bytes + i, &word, 8))
				break;
		}
	}
	while (i < len && bytes[i] == byte_at(pos + i, seed))
		i++;
	return i;
}

/* How many bytes of the stream, from @pos on, are those of the sequence @seed. */
static inline long long right_at(int fd, off_t pos, size_t len, unsigned int seed)
{
	static _Thread_local unsigned char bytes[1 << 16];
	size_t done = 0;

	while (done < len) {
		size_t most = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		ssize_t got = pread(fd, bytes, most, pos + done);
		long long good = got < 0 ? 0 : right(bytes, got, pos + done, seed);

		done += good;
		if (got <= 0 || good < got)
			break;
	}
	return done;
}

/* Writes what the sequence @seed has from @pos on; returns how many bytes were taken. */
static inline long long put_at(int fd, off_t pos, size_t len, unsigned int seed)
{
	static _Thread_local unsigned char bytes[1 << 16];
	size_t done = 0;

	while (done < len) {
		size_t most = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		ssize_t put = pwrite(fd, fill(bytes, most, pos + done, seed), most, pos + done);

		if (put <= 0)
			break;
		done += put;
	}
	return done;
}

/* The next of a row of numbers below @end that look drawn by chance. */
static inline int draw(unsigned int *seed, int end)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % end;
}

/* ---- memory ---- */

/* Memory that has never been touched. */
static inline void *fresh_memory(size_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* @len bytes of memory; what follows can be neither read nor written. */
static inline void *memory_before_hole(size_t len)
{
	size_t room = (len + PAGE - 1) / PAGE * PAGE;
	char *memory = fresh_memory(room + PAGE);

	if (!memory || mprotect(memory + room, PAGE, PROT_NONE))
		return NULL;
	return memory + room - len;
}

/* An address where there is nothing. */
static inline void *nowhere(void)
{
	return memory_before_hole(0);
}

/* An open file, not linked anywhere, that has @len bytes of the sequence @seed. */
static inline int file_with(size_t len, unsigned int seed)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 && put_at(fd, 0, len, seed) != (long long)len) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- time ---- */

static inline long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static inline void sleep_ms(int ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

/*
 * How long a test of a race goes on: a moment, or as long as soak.sh says. The
 * harness ends a test after 30 s.
 */
static inline int race_ms(void)
{
	const char *text = getenv("QEMUFILE_RACE_MS");

	return text ? atoi(text) : 400;
}

#define RACE_MS race_ms()

/* ---- threads and processes ---- */

/* Has the calling thread run on one processor only; they are counted round. */
static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static inline pid_t my_tid(void)
{
	return syscall(SYS_gettid);
}

/* A child that does not outlive its parent. */
static inline pid_t fork_child(void)
{
	pid_t child = fork();

	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

/* How a child has ended: its exit status, or 128 and the signal. */
static inline int status_of(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Whether a task sleeps in the system call @number; waits up to 5 s until it does. */
static inline bool sleeps_in(pid_t tid, long number)
{
	long long end = now_ms() + 5000;
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	do {
		FILE *file = fopen(path, "re");
		char *rest = text;

		if (file && fgets(text, sizeof(text), file) &&
		    strtol(text, &rest, 10) == number && rest != text) {
			fclose(file);
			return true;
		}
		if (file)
			fclose(file);
		sleep_ms(2);
	} while (now_ms() < end);
	return false;
}

/* Whether *@flag is set; waits up to @ms until it is. */
static inline bool is_set_within(atomic_int *flag, int ms)
{
	long long end = now_ms() + ms;

	while (!atomic_load(flag)) {
		if (now_ms() >= end)
			return false;
		sleep_ms(1);
	}
	return true;
}

/* ---- calls that others wait for ---- */

/* Somebody who asks for a stream's figures all the while. */
struct onlooker {
	int fd;
	atomic_int over;
	long long longest_us;
	pthread_t thread;
};

static inline long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static inline void *look_on(void *arg)
{
	struct onlooker *onlooker = arg;
	struct qemufile_info info;

	pin_to(1);
	while (!onlooker->over) {
		long long start = now_us();

		ioctl(onlooker->fd, QEMUFILE_IOC_GET_INFO, &info);
		if (now_us() - start > onlooker->longest_us)
			onlooker->longest_us = now_us() - start;
	}
	return NULL;
}

/*
 * Which part of the time that @call takes somebody else waits for the stream at a
 * time, in percent. An emulated machine may stand still at any time, so a single
 * result says little: see median().
 */
static inline int held_percent(int fd, void (*call)(void *), void *arg)
{
	struct onlooker onlooker = { .fd = fd };
	long long took;

	pin_to(0);
	if (pthread_create(&onlooker.thread, NULL, look_on, &onlooker))
		return -1;
	sleep_ms(20);
	onlooker.longest_us = 0;
	took = now_us();
	call(arg);
	took = now_us() - took;
	onlooker.over = 1;
	pthread_join(onlooker.thread, NULL);
	return onlooker.longest_us * 100 / (took + 1);
}

static inline int compare_ints(const void *one, const void *other)
{
	return *(const int *)one - *(const int *)other;
}

/* The one in the middle. */
static inline int median(int *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare_ints);
	return values[count / 2];
}

/* ---- calls that wait ---- */

/* A read in a thread of its own, of up to a page. */
struct pending_read {
	int fd;
	size_t len;
	off_t pos;		/* for pread; -1 for read */
	ssize_t result;
	int error;
	atomic_int tid;
	atomic_int done;
	pthread_t thread;
	unsigned char bytes[PAGE];
};

static inline void *do_pending_read(void *arg)
{
	struct pending_read *read_call = arg;

	read_call->tid = my_tid();
	read_call->result = read_call->pos < 0 ?
		read(read_call->fd, read_call->bytes, read_call->len) :
		pread(read_call->fd, read_call->bytes, read_call->len, read_call->pos);
	read_call->error = errno;
	read_call->done = 1;
	return NULL;
}

/* Starts a read, and says whether it waits. */
static inline bool read_waits(struct pending_read *read_call, int fd, size_t len, off_t pos)
{
	*read_call = (struct pending_read){ .fd = fd, .len = len, .pos = pos };
	return !pthread_create(&read_call->thread, NULL, do_pending_read, read_call) &&
	       is_set_within(&read_call->tid, 5000) &&
	       sleeps_in(read_call->tid, pos < 0 ? SYS_read : SYS_pread64) &&
	       !read_call->done;
}

/* What the read returned; -2 if it goes on after @ms. */
static inline ssize_t read_result(struct pending_read *read_call, int ms)
{
	if (!is_set_within(&read_call->done, ms))
		return -2;
	pthread_join(read_call->thread, NULL);
	errno = read_call->error;
	return read_call->result;
}

/* ---- polling ---- */

/* What poll() says at once; -1 if it fails. */
static inline int polled(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	return poll(&poll_fd, 1, 0) < 0 ? -1 : poll_fd.revents;
}

/* All that can be asked for. */
#define POLL_ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLRDBAND | \
		  POLLWRNORM | POLLWRBAND)
#define POLL_READ (POLLIN | POLLRDNORM)
#define POLL_WRITE (POLLOUT | POLLWRNORM)

#endif /* QEMUFILE_SELFTESTS_HARNESS_H */
