/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Time, for tests of what a call costs. They are run in a machine whose clock counts
 * the instructions of its processors, one a nanosecond (vm.sh --count-instructions):
 * what else the host does changes nothing. On another machine they may fail. Include it
 * after harness.h.
 */
#ifndef QEMUFILE_SELFTESTS_COST_H
#define QEMUFILE_SELFTESTS_COST_H

static inline long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/*
 * The least of ten times that @action takes, in ns: what the machine does by itself, for
 * timers and RCU, comes between now and then. @action may use the number @n of the try.
 */
#define TRIES 10
#define LEAST_NS(n, action) ({								\
	long long least = INT64_MAX;							\
											\
	for (int n = 0; n < TRIES; n++) {						\
		long long start = now_ns(), took;					\
											\
		action;									\
		took = now_ns() - start;						\
		least = took < least ? took : least;					\
	}										\
	least;										\
})

/* Somebody who reads a byte and asks for the figures of a stream all the while. */
struct onlooker {
	int fd;
	atomic_int over;
	bool failed;
	long long longest;
	pthread_t thread;
};

/*
 * The processors of the machine take turns, of 2 ms where both are busy: the longest
 * that one that is not waiting for anything stands still. A call has to take much longer.
 */
#define TURN_NS 2000000

static inline void *look_on(void *arg)
{
	struct onlooker *onlooker = arg;
	struct sched_param priority = { .sched_priority = 1 };
	struct qemufile_info info;
	char byte;

	/* Before all other tasks there. */
	sched_setscheduler(0, SCHED_FIFO, &priority);
	pin_to(1);
	while (!onlooker->over) {
		for (int i = 0; i < 2; i++) {
			long long start = now_ns(), took;

			/* Of a byte that was drained, the read fails. */
			if (i == 0)
				pread(onlooker->fd, &byte, 1, 0);
			else if (ioctl(onlooker->fd, QEMUFILE_IOC_GET_INFO, &info))
				onlooker->failed = true;
			took = now_ns() - start;
			onlooker->longest = took > onlooker->longest ? took : onlooker->longest;
		}
	}
	return NULL;
}

/*
 * What a long call took, in ns, and how much of it somebody else waited at the longest,
 * in percent; 100 if somebody else's call failed.
 */
struct held {
	ssize_t result;
	long long took;
	int percent;
};

/* Makes @call on processor 0, with an onlooker of @fd on the other. */
static inline struct held hold(int fd, ssize_t (*call)(void *arg), void *arg)
{
	struct onlooker onlooker = { .fd = fd };
	struct held held = { .percent = 100 };

	pin_to(0);
	if (pthread_create(&onlooker.thread, NULL, look_on, &onlooker))
		return held;
	sleep_ms(1);
	onlooker.longest = 0;
	held.took = now_ns();
	held.result = call(arg);
	held.took = now_ns() - held.took;
	onlooker.over = 1;
	pthread_join(onlooker.thread, NULL);
	if (!onlooker.failed && onlooker.longest > TURN_NS)
		held.percent = (onlooker.longest - TURN_NS) * 100 / held.took;
	else if (!onlooker.failed)
		held.percent = 0;
	return held;
}

#endif /* QEMUFILE_SELFTESTS_COST_H */
