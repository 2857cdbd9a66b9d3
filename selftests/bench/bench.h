/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The benchmark: rounds of work on qemufile and its peers, one peer after the other in
 * each round. main.c runs the works, peers.c opens the peers, and each other file has the
 * works of one subject.
 */
#ifndef QEMUFILE_BENCH_H
#define QEMUFILE_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/qemufile.h>

#define KiB 1024L
#define MiB (1024 * KiB)
#define GiB (1024 * MiB)
#define PAGE 4096L
#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* MEMCPY: no file, but the copy alone, from memory of the program to memory of the program. */
enum peer { QEMUFILE, MEMFD, TMPFS, PIPE, SOCKET, MEMCPY, PEERS };

/* Sets of peers. */
#define ONLY(peer) (1U << (peer))
#define FILES (ONLY(QEMUFILE) | ONLY(MEMFD) | ONLY(TMPFS))
#define CHANNELS (ONLY(QEMUFILE) | ONLY(PIPE) | ONLY(SOCKET))

/* One peer at one work. */
struct run {
	const struct work *work;
	enum peer peer;
	/* Bytes of a round: what main.c proposes; a work may take another size. */
	long bytes;
	/* The time of the round. A work that sets it measures itself. */
	long long ns;
	/* Operations of the round, for the works whose figure is the time of one. */
	long calls;
	/* Memory that was held, for the works that are about memory. */
	long long held;
	/* The work's own. */
	int fd, other;
	char *map;
};

struct work {
	const char *name;
	unsigned int peers;
	/* Bytes of one call. */
	long record;
	int threads;
	/* Bytes of a stream, where that is what the work is about. */
	long size;
	/* Measured round by round together with the work before it. */
	bool joined;
	/*
	 * prepare: once, before the first round; finish: after the last. A round is
	 * before, round, after: round alone is measured. All but round may be NULL.
	 */
	void (*prepare)(struct run *run);
	void (*before)(struct run *run);
	void (*round)(struct run *run);
	void (*after)(struct run *run);
	void (*finish)(struct run *run);
	/* Whether this machine can do it; NULL: every machine can. */
	bool (*possible)(const struct work *work, enum peer peer);
};

/* The works of a subject. */
struct subject {
	const struct work *works;
	size_t count;
};

extern const struct subject files, threads, live, splices, maps, calls, clones, growth;

/* ---- main.c */

/* Memory with bytes in it, PATTERN long: where writes come from and reads go to. */
#define PATTERN MiB
extern char *pattern;

long long now_ns(void);
/* Ends the program: a figure of a call that failed would be none. */
void failed(const struct run *run, const char *call) __attribute__((noreturn));
/* From 0 to @below, the same in each run. */
uint64_t any(uint64_t *seed, uint64_t below);
/* /proc/meminfo's MemAvailable when the program began, in bytes. */
long memory_available(void);
int processors(void);
/* This thread runs on @cpu only; -1: on any. */
void pin_to(int cpu);

#define must(run, call, holds) do { if (!(holds)) failed(run, call); } while (0)

/* ---- peers.c */

const char *peer_name(enum peer peer);
/* A new and empty file of the peer, open for reading and writing. */
int open_peer(const struct run *run);
void set_length(const struct run *run, int fd, long length);
/* Writes @len bytes at the position, @record a call. */
void write_all(const struct run *run, int fd, long len, long record);
/* A file with @len bytes. */
int open_filled(const struct run *run, long len);
/* A second file with the same bytes, by the quickest way that the peer has. */
int clone_of(const struct run *run, int fd, long len);
/* The ends of a channel that holds 1 MiB, where a writer waits for the reader. */
void open_channel(const struct run *run, int *reader, int *writer);

/* ---- works that several subjects share */

void close_file(struct run *run);

#endif /* QEMUFILE_BENCH_H */
