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

#include "streams.h"
#include "calls.h"
#include "bytes.h"
#include "memory.h"
#include "tasks.h"
#include "waits.h"

#endif /* QEMUFILE_SELFTESTS_HARNESS_H */
