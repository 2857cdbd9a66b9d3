// SPDX-License-Identifier: GPL-2.0
/*
 * A storm: 16 processes with 64 handles each do whatever can be done with a
 * handle, with arguments drawn by chance and from the edges, on streams that they
 * share. Some of them are killed and replaced. What their calls return is not
 * looked at: nothing may hang, memory has to stay within the streams' limits, and
 * the kernel has nothing to say (vm.sh looks at its log).
 *
 * Usage: storm [SECONDS [SEED]]     (default: 20; prints TAP)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/falloc.h>
#include <linux/fs.h>

#include <linux/qemufile.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

enum {
	PROCESSES = 16,
	HANDLES = 64,
	ROOTS = 8,		/* streams that all processes have in common */
	MAPPINGS = 8,
	PAGE = 4096,
	LIMIT = 128 << 10,	/* of each stream, in bytes */
	ARENA = 256 << 10,	/* memory for what is read and written */
	KILL_EVERY_MS = 300,
	STALLED_MS = 60000,	/* no call done for so long: it hangs */
};

/*
 * What all the streams can hold, had each handle one of its own, in KiB; and as
 * much again for processes, page tables, and what the kernel has to remember.
 */
#define MEMORY_KIB (2 * (PROCESSES * HANDLES + ROOTS) * (LIMIT >> 10))

#define ACTS(act)								\
	act(get_info) act(set_length) act(get_extent) act(punch) act(bufopen)	\
	act(clone) act(put) act(get) act(peek) act(skip) act(get_error)		\
	act(set_error) act(rate_limit) act(set_limit) act(set_flags)		\
	act(ram_control) act(save_page) act(unknown_ioctl)			\
	act(open) act(reopen) act(close) act(dup) act(read) act(write)		\
	act(pread) act(pwrite) act(preadv2) act(pwritev2) act(lseek)		\
	act(splice_out) act(splice_in) act(tee) act(vmsplice) act(sendfile)	\
	act(copy_file_range) act(ficlone) act(mmap) act(munmap) act(touch)	\
	act(ftruncate) act(fallocate) act(poll) act(epoll) act(fsync)		\
	act(fadvise) act(fcntl) act(flock) act(fstat) act(fdinfo)

#define ACT_NUMBER(name) ACT_##name,
enum act { ACTS(ACT_NUMBER) ACT_COUNT };

#define ACT_NAME(name) #name,
static const char *const act_names[] = { ACTS(ACT_NAME) };

/* What a process tells of itself. */
struct seat {
	_Atomic pid_t pid;
	atomic_uint acts;	/* done so far */
	atomic_int now;		/* the one that it is at */
};

static struct {
	struct seat seats[PROCESSES];
	atomic_ulong tried[ACT_COUNT];
	atomic_ulong worked[ACT_COUNT];
	atomic_bool stop;
} *shared;

static int roots[ROOTS];

/* ---- chance ---- */

static uint64_t state;

static uint64_t chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned int below(unsigned int end)
{
	return (chance() >> 20) % end;
}

static bool one_in(unsigned int count)
{
	return below(count) == 0;
}

/* A number that is likely to be an edge of something. */
static uint64_t edge(void)
{
	static const uint64_t edges[] = {
		0, 1, 2, 7, 8, PAGE, 64 << 10, LIMIT, 256 << 10, 1 << 20, 1ULL << 30,
		INT32_MAX, UINT32_MAX, 1ULL << 32, 1ULL << 40, INT64_MAX - PAGE,
		INT64_MAX, 1ULL << 63, UINT64_MAX - PAGE, UINT64_MAX,
	};
	uint64_t number = edges[below(ARRAY_LEN(edges))];

	switch (below(4)) {
	case 0:
		return number - 1;
	case 1:
		return number + 1;
	case 2:
		return chance() >> below(64);
	default:
		return number;
	}
}

/* A position or a length that is mostly one of a stream. */
static uint64_t place(void)
{
	switch (below(8)) {
	case 0:
		return edge();
	case 1:
	case 2:
		return (uint64_t)below(LIMIT / PAGE + 1) * PAGE;
	default:
		return below(LIMIT + PAGE);
	}
}

/* For a word that should be zero. */
static uint32_t zero(void)
{
	return one_in(16) ? edge() : 0;
}

/* ---- what a process has ---- */

static struct seat *seat;
static int handles[HANDLES];
static int pipe_fds[2];
static int epoll_fd;
static char *arena;		/* ARENA bytes, then a page that cannot be touched */
static const char *constant;	/* a page that cannot be written */
static struct {
	char *at;
	size_t len;
} mappings[MAPPINGS];

static int handle(void)
{
	return handles[below(HANDLES)];
}

/* Puts a new handle in the place of another. */
static void keep(int fd)
{
	int *slot = &handles[below(HANDLES)];

	if (fd < 0)
		return;
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
}

static size_t size(void)
{
	switch (below(8)) {
	case 0:
		return edge() % (ARENA + PAGE);
	case 1:
		return below(ARENA);
	default:
		return below(3 * PAGE);
	}
}

/* An address for @len bytes, which is a good one as a rule. */
static void *address(size_t len)
{
	int mapping = below(MAPPINGS);

	switch (below(32)) {
	case 0:
		return NULL;
	case 1:
		return (void *)(uintptr_t)(0xffff800000000000ULL + PAGE * chance() % (1ULL << 40));
	case 2:	/* runs into what cannot be touched */
		return arena + ARENA - (len ? below(len > ARENA ? ARENA : len) : 0);
	case 3:
		return (void *)constant;
	case 4:	/* the stream's own pages, or another's */
	case 5:
	case 6:
		if (mappings[mapping].at)
			return mappings[mapping].at + below(mappings[mapping].len);
		/* fall through */
	default:
		return arena + (len < ARENA ? below(ARENA - len) : 0);
	}
}

/* ---- what it does ---- */

static int set_limit(int fd, uint64_t bytes)
{
	struct qemufile_limit limit = { .limit = bytes };

	return ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit);
}

static uint64_t some_limit(void)
{
	return one_in(3) ? below(LIMIT) + 1 : LIMIT;
}

/* Each new stream gets a limit before anyone can write to it. */
static int limited(int fd)
{
	if (fd >= 0 && set_limit(fd, LIMIT) && errno == EBADF) {
		/* Open for reading only: nobody will write to this one. */
	}
	return fd;
}

static int open_device(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };

	return limited(open("/dev/qemufile", O_CLOEXEC | modes[below(4)] |
			    (one_in(4) ? 0 : O_NONBLOCK) | (one_in(8) ? O_APPEND : 0)));
}

static struct qemufile_open opening(void)
{
	return (struct qemufile_open){
		.mode = one_in(16) ? edge() : 1 + below(3),
		.flags = one_in(16) ? edge() : QEMUFILE_OPEN_NONBLOCK * !one_in(4) |
					       QEMUFILE_OPEN_APPEND * one_in(8),
	};
}

/* An ioctl whose argument is sometimes not where it should be. */
static int call(int fd, unsigned long number, void *argument, size_t len)
{
	void *at;

	if (!one_in(16))
		return ioctl(fd, number, argument);
	at = one_in(2) ? address(len) : arena + ARENA - below(len);
	return ioctl(fd, number, at);
}

#define CALL(fd, number, argument) call(fd, number, argument, sizeof(*(argument)))

static int typed(unsigned long number)
{
	static struct qemufile_record records[QEMUFILE_MAX_RECORDS];
	static const uint64_t most[] = { UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX };
	unsigned int count = one_in(32) ? below(ARRAY_LEN(records)) : below(8);
	struct qemufile_vector vector = {
		.records = (uintptr_t)records,
		.count = one_in(32) ? edge() : count,
		.offset = number == QEMUFILE_IOC_PEEK ? place() : zero(),
		.flags = zero(),
		.reserved = zero(),
	};

	for (unsigned int i = 0; i < count; i++) {
		struct qemufile_record *record = &records[i];

		*record = (struct qemufile_record){
			.type = one_in(64) ? edge() : below(5),
			.flags = one_in(64) ? edge() : 0,
		};
		if (record->type < QEMUFILE_BUFFER) {
			record->value = one_in(64) ? edge() : chance() & most[record->type];
			record->length = one_in(64) ? edge() : 0;
		} else {
			record->length = one_in(64) ? edge() : below(PAGE);
			record->value = (uintptr_t)address(record->length < ARENA ?
							   record->length : 0);
		}
	}
	/* Beyond the array there is nothing but more of our own memory. */
	if (vector.count > ARRAY_LEN(records) || one_in(64))
		vector.records = (uintptr_t)(arena + ARENA - PAGE * below(2));
	return CALL(handle(), number, &vector);
}

static struct iovec *vectors(int *count)
{
	static struct iovec iov[8];

	*count = one_in(32) ? (int)edge() : (int)below(ARRAY_LEN(iov) + 1);
	if (*count > (int)ARRAY_LEN(iov))
		*count = 1025;		/* refused before it is looked at */
	for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
		iov[i].iov_len = size();
		iov[i].iov_base = address(iov[i].iov_len);
	}
	return iov;
}

static int rw_flags(void)
{
	static const int flags[] = {
		RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, 0x20 /* NOAPPEND */,
		0x40 /* ATOMIC */,
	};

	return (one_in(2) ? 0 : flags[below(ARRAY_LEN(flags))]) |
	       (one_in(4) ? RWF_NOWAIT : 0) | (one_in(64) ? edge() : 0);
}

static sigjmp_buf fault;
static volatile sig_atomic_t may_fault;

static void on_fault(int signal)
{
	(void)signal;
	if (!may_fault)
		_exit(99);
	siglongjmp(fault, 1);
}

static int touch(void)
{
	int i = below(MAPPINGS);
	volatile int result = -1;

	if (!mappings[i].at)
		return -1;
	may_fault = 1;
	if (!sigsetjmp(fault, 1)) {
		volatile char *at = mappings[i].at + below(mappings[i].len);

		if (one_in(2))
			*at = chance();	/* SIGSEGV if it is read-only */
		else
			(void)*at;
		if (one_in(8))
			madvise(mappings[i].at, mappings[i].len, MADV_DONTNEED);
		result = 0;
	}
	may_fault = 0;
	return result;
}

static void unmap(int i)
{
	if (mappings[i].at)
		munmap(mappings[i].at, mappings[i].len);
	mappings[i].at = NULL;
}

static int map(void)
{
	int i = below(MAPPINGS);
	size_t len = PAGE * (1 + below(16));
	off_t offset = one_in(16) ? edge() & ~(uint64_t)(PAGE - 1) : PAGE * below(LIMIT / PAGE);
	void *at = mmap(NULL, len, one_in(2) ? PROT_READ : PROT_READ | PROT_WRITE,
			(one_in(3) ? MAP_PRIVATE : MAP_SHARED) | (one_in(8) ? MAP_POPULATE : 0),
			handle(), offset);

	if (at == MAP_FAILED)
		return -1;
	unmap(i);
	mappings[i].at = at;
	mappings[i].len = len;
	return 0;
}

/* A file of another process, or of this one, opened once more. */
static int reopen(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	char path[64];

	if (one_in(2))
		snprintf(path, sizeof(path), "/proc/self/fd/%d", handle());
	else
		snprintf(path, sizeof(path), "/proc/%d/fd/%d",
			 shared->seats[below(PROCESSES)].pid, 3 + below(HANDLES + ROOTS));
	return limited(open(path, O_CLOEXEC | O_NOCTTY | O_NONBLOCK | modes[below(4)] |
			    (one_in(8) ? O_TRUNC : 0) | (one_in(8) ? O_APPEND : 0)));
}

static int look_at_fdinfo(void)
{
	char path[64], text[1024];
	int fd, result;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", handle());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	result = read(fd, text, sizeof(text)) > 0 ? 0 : -1;
	close(fd);
	return result;
}

static int set_some_flags(void)
{
	/* What cannot be undone is rare, or soon nothing could be written any more. */
	uint32_t set = one_in(4) ? QEMUFILE_STREAM_DRAIN :
		       one_in(8) ? QEMUFILE_STREAM_APPEND :
		       one_in(8) ? QEMUFILE_STREAM_SEALED :
		       one_in(8) ? QEMUFILE_STREAM_NOSHARE : 0;
	struct qemufile_flags flags = { .set = one_in(16) ? set | edge() << 4 : set, .flags = zero() };

	return CALL(handle(), QEMUFILE_IOC_SET_FLAGS, &flags);
}

/* Limits from the edges are for a stream that nobody else has. */
static int set_any_limit(void)
{
	struct qemufile_limit limit = { .limit = some_limit() };
	int fd, result;

	if (!one_in(4))
		return CALL(handle(), QEMUFILE_IOC_SET_LIMIT, &limit);
	fd = open("/dev/qemufile", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	limit = (struct qemufile_limit){ edge(), zero(), zero() };
	result = CALL(fd, QEMUFILE_IOC_SET_LIMIT, &limit);
	if (write(fd, arena, size() % ARENA) > 0)
		set_limit(fd, edge());
	close(fd);
	return result;
}

static int to_pipe(void)
{
	loff_t offset = place();

	return splice(handle(), one_in(2) ? &offset : NULL, pipe_fds[1], NULL, size(),
		      SPLICE_F_NONBLOCK | (one_in(2) ? SPLICE_F_MOVE : 0));
}

static int from_pipe(void)
{
	loff_t offset = place();

	return splice(pipe_fds[0], NULL, handle(), one_in(2) ? &offset : NULL, size(),
		      SPLICE_F_NONBLOCK | (one_in(2) ? SPLICE_F_MOVE : 0));
}

/* Pages that are the pipe's from now on, and a stream's as soon as it takes them. */
static int gift(void)
{
	struct iovec iov = { .iov_len = PAGE * (1 + below(4)) };
	int result;

	iov.iov_base = mmap(NULL, iov.iov_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (iov.iov_base == MAP_FAILED)
		return -1;
	result = vmsplice(pipe_fds[1], &iov, 1, SPLICE_F_NONBLOCK | SPLICE_F_GIFT);
	munmap(iov.iov_base, iov.iov_len);
	return result;
}

static int poll_some(void)
{
	struct pollfd fds[4];

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = (struct pollfd){ .fd = handle(), .events = chance() };
	return poll(fds, ARRAY_LEN(fds), one_in(16) ? 10 : 0);
}

static int epoll_some(void)
{
	struct epoll_event events[8] = { { .events = chance() & ~EPOLLEXCLUSIVE } };
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };

	if (one_in(4))
		return epoll_wait(epoll_fd, events, ARRAY_LEN(events), one_in(16) ? 10 : 0);
	return epoll_ctl(epoll_fd, ops[below(3)], handle(), events);
}

static int fcntl_some(void)
{
	int fd = handle();

	switch (below(5)) {
	case 0:
		return fcntl(fd, F_SETFL, (one_in(4) ? 0 : O_NONBLOCK) |
			     (one_in(8) ? O_APPEND : 0) | (one_in(4) ? O_ASYNC : 0));
	case 1:
		return fcntl(fd, F_SETOWN, getpid());
	case 2: {
		struct flock lock = {
			.l_type = below(3), .l_whence = SEEK_SET, .l_start = below(LIMIT), .l_len = 1,
		};

		return fcntl(fd, F_SETLK, &lock);
	}
	case 3:
		return fcntl(fd, F_GETFL);
	default:
		return fcntl(fd, F_SETSIG, one_in(2) ? 0 : SIGUSR1);
	}
}

static int close_one(void)
{
	int *slot = &handles[below(HANDLES)];
	int result = *slot < 0 ? -1 : close(*slot);

	*slot = -1;
	return result;
}

static int fallocate_some(void)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE,
	};

	return fallocate(handle(), one_in(16) ? (int)edge() : modes[below(ARRAY_LEN(modes))],
			 place(), place());
}

static int copy_some(void)
{
	loff_t from = place(), to = place();

	return copy_file_range(handle(), one_in(2) ? &from : NULL,
			       handle(), one_in(2) ? &to : NULL, place(), 0);
}

static int clone_range(void)
{
	struct file_clone_range range = {
		.src_fd = handle(), .src_offset = place(), .src_length = place(),
		.dest_offset = place(),
	};

	return one_in(2) ? ioctl(handle(), FICLONERANGE, &range) :
			   ioctl(handle(), FICLONE, handle());
}

/* A new stream may take the place of a handle; its limit comes first. */
static int new_handle(unsigned long number)
{
	struct qemufile_open open = opening();
	int fd = CALL(handle(), number, &open);

	keep(number == QEMUFILE_IOC_CLONE ? limited(fd) : fd);
	return fd;
}

static long do_act(enum act act)
{
	size_t len = size();
	void *at = address(len);
	struct stat stat;
	int count, fd;

	switch (act) {
	case ACT_get_info: {
		struct qemufile_info info;

		return CALL(handle(), QEMUFILE_IOC_GET_INFO, &info);
	}
	case ACT_set_length: {
		struct qemufile_length length = { place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SET_LENGTH, &length);
	}
	case ACT_get_extent: {
		struct qemufile_extent extent = {
			.start = place(), .length = edge(), .kind = edge(), .flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_GET_EXTENT, &extent);
	}
	case ACT_punch: {
		struct qemufile_range range = { place(), place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_PUNCH, &range);
	}
	case ACT_bufopen:
		return new_handle(QEMUFILE_IOC_BUFOPEN);
	case ACT_clone:
		return new_handle(QEMUFILE_IOC_CLONE);
	case ACT_put:
		return typed(QEMUFILE_IOC_PUT);
	case ACT_get:
		return typed(QEMUFILE_IOC_GET);
	case ACT_peek:
		return typed(QEMUFILE_IOC_PEEK);
	case ACT_skip: {
		struct qemufile_skip skip = { place(), zero(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SKIP, &skip);
	}
	case ACT_get_error: {
		struct qemufile_error error;

		return CALL(handle(), QEMUFILE_IOC_GET_ERROR, &error);
	}
	case ACT_set_error: {
		struct qemufile_error error = {
			.error = one_in(2) ? 0 : one_in(2) ? (int)edge() : -(int)below(256),
			.flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_SET_ERROR, &error);
	}
	case ACT_rate_limit: {
		struct qemufile_rate rate = {
			.limit = one_in(2) ? 0 : edge(), .xfer = edge(),
			.op = one_in(16) ? edge() : below(3),
			.flags = one_in(16) ? edge() : below(2), .reserved = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_RATE_LIMIT, &rate);
	}
	case ACT_set_limit:
		return set_any_limit();
	case ACT_set_flags:
		return set_some_flags();
	case ACT_ram_control: {
		struct qemufile_ram_control control = {
			.hook_flags = edge(), .op = one_in(8) ? edge() : below(3), .flags = zero(),
		};

		return CALL(handle(), QEMUFILE_IOC_RAM_CONTROL, &control);
	}
	case ACT_save_page: {
		struct qemufile_save_page page = { place(), place(), place(), edge(), edge(), zero() };

		return CALL(handle(), QEMUFILE_IOC_SAVE_PAGE, &page);
	}
	case ACT_unknown_ioctl:
		/* A number of another size or direction, or of no call. */
		return ioctl(handle(), one_in(2) ? _IOC(below(4), QEMUFILE_IOC_MAGIC, below(64),
							below(128) | 1U << 12) : chance(),
			     arena + ARENA - below(PAGE));
	case ACT_open:
		keep(fd = open_device());
		return fd;
	case ACT_reopen:
		keep(fd = reopen());
		return fd;
	case ACT_close:
		return close_one();
	case ACT_dup:
		keep(fd = fcntl(handle(), F_DUPFD_CLOEXEC, 3));
		return fd;
	case ACT_read:
		return read(handle(), at, len);
	case ACT_write:
		return write(handle(), at, len);
	case ACT_pread:
		return pread(handle(), at, len, place());
	case ACT_pwrite:
		return pwrite(handle(), at, len, place());
	case ACT_preadv2: {
		struct iovec *iov = vectors(&count);

		return preadv2(handle(), iov, count, one_in(2) ? -1 : (off_t)place(), rw_flags());
	}
	case ACT_pwritev2: {
		struct iovec *iov = vectors(&count);

		return pwritev2(handle(), iov, count, one_in(2) ? -1 : (off_t)place(), rw_flags());
	}
	case ACT_lseek:
		return lseek(handle(), one_in(4) ? (off_t)edge() : (off_t)place(), below(6));
	case ACT_splice_out:
		return to_pipe();
	case ACT_splice_in:
		return from_pipe();
	case ACT_tee: {
		int fds[2], result;

		if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
			return -1;
		result = tee(pipe_fds[0], fds[1], size(), SPLICE_F_NONBLOCK);
		splice(fds[0], NULL, handle(), NULL, size(), SPLICE_F_NONBLOCK);
		close(fds[0]);
		close(fds[1]);
		return result;
	}
	case ACT_vmsplice:
		return gift();
	case ACT_sendfile: {
		off_t offset = place();

		return sendfile(handle(), handle(), one_in(2) ? &offset : NULL, len);
	}
	case ACT_copy_file_range:
		return copy_some();
	case ACT_ficlone:
		return clone_range();
	case ACT_mmap:
		return map();
	case ACT_munmap:
		unmap(below(MAPPINGS));
		return 0;
	case ACT_touch:
		return touch();
	case ACT_ftruncate:
		return ftruncate(handle(), place());
	case ACT_fallocate:
		return fallocate_some();
	case ACT_poll:
		return poll_some();
	case ACT_epoll:
		return epoll_some();
	case ACT_fsync:
		return one_in(2) ? fsync(handle()) : fdatasync(handle());
	case ACT_fadvise:
		return posix_fadvise(handle(), place(), place(), below(7)) ? -1 : 0;
	case ACT_fcntl:
		return fcntl_some();
	case ACT_flock:
		return flock(handle(), LOCK_NB | (one_in(2) ? LOCK_UN : one_in(2) ? LOCK_SH : LOCK_EX));
	case ACT_fstat:
		return fstat(handle(), &stat);
	case ACT_fdinfo:
		return look_at_fdinfo();
	case ACT_COUNT:
		break;
	}
	return -1;
}

/* ---- a process ---- */

static void on_signal(int signal)
{
	(void)signal;
}

static void handle_signals(void)
{
	/* Whatever waits is woken twenty times a second. */
	const struct itimerval timer = {
		.it_value.tv_usec = 50000, .it_interval.tv_usec = 50000,
	};
	struct sigaction action = { .sa_handler = on_fault };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	action.sa_handler = on_signal;
	sigaction(SIGALRM, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGIO, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGXFSZ, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void run_process(unsigned int number, uint64_t seed)
{
	cpu_set_t cpus;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seat = &shared->seats[number];
	state = seed | 1;
	CPU_ZERO(&cpus);
	CPU_SET(number % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	if (!one_in(4))
		sched_setaffinity(0, sizeof(cpus), &cpus);
	handle_signals();

	arena = mmap(NULL, ARENA + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || constant == MAP_FAILED || mprotect(arena + ARENA, PAGE, PROT_NONE) ||
	    pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK))
		_exit(98);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < ARENA; i += sizeof(state)) {
		uint64_t word = chance();

		memcpy(arena + i, &word, sizeof(word));
	}
	/* Some files are the other processes' too, some are handles on the same streams. */
	for (int i = 0; i < HANDLES; i++) {
		struct qemufile_open open = { .mode = 1 + below(3), .flags = QEMUFILE_OPEN_NONBLOCK };
		int root = roots[below(ROOTS)];

		handles[i] = i < ROOTS ? dup(roots[i]) :
			     one_in(2) ? ioctl(root, QEMUFILE_IOC_BUFOPEN, &open) : open_device();
	}

	while (!shared->stop) {
		enum act act = below(ACT_COUNT);

		/* Closing is as likely as all that opens would be too rarely. */
		if (act == ACT_close && !one_in(4))
			continue;
		seat->now = act;
		shared->tried[act]++;
		if (do_act(act) >= 0)
			shared->worked[act]++;
		seat->acts++;
	}
	_exit(0);
}

/* ---- the one who watches ---- */

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static long available_kib(void)
{
	long kib = 0;
	char line[128];
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

/* Where a process hangs. */
static void show(const struct seat *seat)
{
	char path[64], line[256];
	static const char *const files[] = { "status", "syscall", "stack" };

	printf("# process %d hangs in %s\n", seat->pid, act_names[seat->now]);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/%s", seat->pid, files[i]);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file)) {
			if (i > 0 || !strncmp(line, "State", 5))
				printf("#   %s", line);
		}
		if (file)
			fclose(file);
	}
}

static void start(unsigned int number)
{
	uint64_t seed = chance();
	int root = below(ROOTS);
	pid_t pid;

	/* What was sealed in the meantime makes way for a new stream. */
	close(roots[root]);
	roots[root] = open_device();
	shared->seats[number].acts = 0;
	pid = fork();
	if (pid == 0)
		run_process(number, seed);
	shared->seats[number].pid = pid;
}

/* Waits until a process has ended, and says how; -1 if it does not. */
static int ended(const struct seat *seat)
{
	long long end = now_ms() + STALLED_MS;
	int status;

	while (now_ms() < end) {
		if (waitpid(seat->pid, &status, WNOHANG) == seat->pid)
			return status;
		usleep(10000);
	}
	return -1;
}

static bool stop_all(void)
{
	bool all = true;

	shared->stop = true;
	for (int i = 0; i < PROCESSES; i++) {
		int status = ended(&shared->seats[i]);

		if (status < 0) {
			show(&shared->seats[i]);
			kill(shared->seats[i].pid, SIGKILL);
			all = false;
		} else if (status) {
			printf("# process %d ended with status %#x, in %s\n", shared->seats[i].pid,
			       status, act_names[shared->seats[i].now]);
			all = false;
		}
	}
	return all;
}

/* The storm, for so long; returns how many were killed, -1 if one hung or ended by itself. */
static int storm(int seconds, long *least_kib)
{
	struct {
		unsigned int acts;
		long long since;
	} seen[PROCESSES] = {};
	long long end = now_ms() + 1000LL * seconds, next_kill = 0;
	int killed = 0;

	for (int i = 0; i < PROCESSES; i++) {
		start(i);
		seen[i].since = now_ms();
	}
	while (now_ms() < end) {
		long kib = available_kib();

		if (kib < *least_kib)
			*least_kib = kib;
		for (int i = 0; i < PROCESSES; i++) {
			struct seat *seat = &shared->seats[i];
			int status;

			if (waitpid(seat->pid, &status, WNOHANG) == seat->pid) {
				printf("# process %d ended with status %#x, in %s\n", seat->pid,
				       status, act_names[seat->now]);
				return -1;
			}
			if (seat->acts != seen[i].acts) {
				seen[i].acts = seat->acts;
				seen[i].since = now_ms();
			} else if (now_ms() > seen[i].since + STALLED_MS) {
				show(seat);
				return -1;
			}
		}
		if (now_ms() >= next_kill) {
			int victim = below(PROCESSES);

			next_kill = now_ms() + KILL_EVERY_MS;
			kill(shared->seats[victim].pid, SIGKILL);
			if (ended(&shared->seats[victim]) < 0) {
				show(&shared->seats[victim]);
				return -1;
			}
			killed++;
			start(victim);
			seen[victim].acts = 0;
			seen[victim].since = now_ms();
		}
		usleep(100000);
	}
	return killed;
}

static int results;
static bool failed;

static void result(bool ok, const char *name)
{
	printf("%s %d storm.%s\n", ok ? "ok" : "not ok", ++results, name);
	failed |= !ok;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 20, killed;
	long before = available_kib(), least = before;
	unsigned long calls = 0;
	bool ended_all, all_worked = true;

	state = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..3\n# %d s, seed %#llx\n", seconds, (unsigned long long)state);
	state = state * 0x9e3779b97f4a7c15ULL | 1;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	for (int i = 0; i < ROOTS; i++) {
		int device = limited(open("/dev/qemufile", O_RDWR | O_NONBLOCK | O_CLOEXEC));
		struct qemufile_open open = {
			.mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE,
			.flags = QEMUFILE_OPEN_NONBLOCK,
		};

		roots[i] = i % 2 ? device : ioctl(device, QEMUFILE_IOC_BUFOPEN, &open);
		if (roots[i] < 0) {
			printf("Bail out! no stream: %s\n", strerror(errno));
			return 1;
		}
		if (roots[i] != device)
			close(device);
	}

	killed = storm(seconds, &least);
	ended_all = stop_all();

	for (int i = 0; i < ACT_COUNT; i++) {
		calls += shared->tried[i];
		printf("#   %-16s %9lu of %9lu worked\n", act_names[i],
		       (unsigned long)shared->worked[i], (unsigned long)shared->tried[i]);
		if (!shared->worked[i] && i != ACT_unknown_ioctl)
			all_worked = false;
	}
	printf("# %lu calls, %d processes killed, %ld MiB of memory at the most\n", calls, killed,
	       (before - least) >> 10);
	result(killed > 0 && ended_all, "nothing_hangs");
	result(before - least < MEMORY_KIB, "memory_is_bounded_by_the_limits");
	result(all_worked, "every_call_works_now_and_then");
	return failed;
}
