/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the storm share: see storm.c. */
#ifndef QEMUFILE_STORM_H
#define QEMUFILE_STORM_H

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
	act(fadvise) act(fcntl) act(flock) act(fstat) act(fdinfo)		\
	act(open_name) act(tmpfile) act(link) act(rename) act(make) act(remove)	\
	act(change) act(mount)

#define ACT_NUMBER(name) ACT_##name,
enum act { ACTS(ACT_NUMBER) ACT_COUNT };

extern const char *const act_names[ACT_COUNT];

/* What a process tells of itself. */
struct seat {
	_Atomic pid_t pid;
	atomic_uint acts;	/* done so far */
	atomic_int now;		/* the one that it is at */
};

/* What all processes see. */
extern struct shared {
	struct seat seats[PROCESSES];
	atomic_ulong tried[ACT_COUNT];
	atomic_ulong worked[ACT_COUNT];
	atomic_bool stop;
} *shared;

extern int roots[ROOTS];

/* ---- what a process has ---- */

struct mapping {
	char *at;
	size_t len;
};

extern uint64_t state;		/* of the generator of numbers */
extern struct seat *seat;
extern int handles[HANDLES];
extern int pipe_fds[2];
extern int epoll_fd;
extern char *arena;		/* ARENA bytes, then a page that cannot be touched */
extern const char *constant;	/* a page that cannot be written */
extern struct mapping mappings[MAPPINGS];

/* ---- functions ---- */

/* chance.c */
uint64_t chance(void);
unsigned int below(unsigned int end);
bool one_in(unsigned int count);
uint64_t edge(void);
uint64_t place(void);
uint32_t zero(void);

/* arguments.c */
int handle(void);
void keep(int fd);
size_t size(void);
void *address(size_t len);

/* ioctls.c */
int set_limit(int fd, uint64_t bytes);
int call(int fd, unsigned long number, void *argument, size_t len);
int typed(unsigned long number);
int set_some_flags(void);
int set_any_limit(void);
int new_handle(unsigned long number);

/* files.c */
int limited(int fd);
int open_device(void);
int reopen(void);
int look_at_fdinfo(void);
int poll_some(void);
int epoll_some(void);
int fcntl_some(void);
int close_one(void);
int fallocate_some(void);

/* paths.c */
int set_up_names(void);
void clean_up_names(void);
int open_name(void);
int open_nameless(void);
int link_some(void);
int rename_some(void);
int make_some(void);
int remove_some(void);
int change_some(void);
int mount_some(void);

/* data.c */
struct iovec *vectors(int *count);
int rw_flags(void);
int to_pipe(void);
int from_pipe(void);
int gift(void);
int copy_some(void);
int clone_range(void);

/* mappings.c */
void on_fault(int signal);
int touch(void);
void unmap(int i);
int map(void);

/* acts.c */
long do_act(enum act act);

/* process.c */
void run_process(unsigned int number, uint64_t seed);

#define CALL(fd, number, argument) call(fd, number, argument, sizeof(*(argument)))

#endif /* QEMUFILE_STORM_H */
