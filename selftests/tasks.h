/* SPDX-License-Identifier: GPL-2.0 */
/* Time, threads and processes. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_TASKS_H
#define QEMUFILE_SELFTESTS_TASKS_H

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
 * Whether the clock is too coarse to compare the times of calls: that of the emulated
 * debug kernel, which ticks every 10 ms. Each call takes ten times as long there. Tests
 * that repeat a call many times repeat it less often.
 */
static inline bool clock_is_coarse(void)
{
	struct timespec tick = {};

	clock_getres(CLOCK_MONOTONIC, &tick);
	return tick.tv_sec || tick.tv_nsec >= 1000000;
}

/*
 * How long a test of a race goes on: a moment, or as long as soak.sh says. The
 * harness ends a test after 30 s.
 */
static inline int race_ms(void)
{
	const char *text = getenv("QEMUFILE_RACE_MS");

	return text ? atoi(text) : 300;
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

/* The system call that poll() is. */
#ifdef SYS_poll
#define SYS_POLL SYS_poll
#else
#define SYS_POLL SYS_ppoll
#endif

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

/* ---- signals ---- */

/* A handler that only interrupts. */
static inline void on_signal(int number)
{
	(void)number;
}

/* How many signals count_signal() has handled. */
static atomic_int signals __attribute__((unused));

static inline void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&signals, 1);
}

#endif /* QEMUFILE_SELFTESTS_TASKS_H */
