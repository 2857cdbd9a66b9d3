// SPDX-License-Identifier: GPL-2.0
/*
 * A storm: 16 processes with 64 handles each do whatever can be done with a
 * handle, with arguments drawn by chance and from the edges, on streams that they
 * share. Some of them are killed and replaced. What their calls return is not
 * looked at: nothing may hang, memory has to stay within the streams' limits, and
 * the kernel has nothing to say (vm.sh looks at its log).
 *
 * Usage: storm [SECONDS [SEED]]     (default: 20, see storm(); prints TAP)
 */
#include "storm.h"

struct shared *shared;
int roots[ROOTS];

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

/* Whether each call has worked at least once. */
static bool all_worked(void)
{
	for (int i = 0; i < ACT_COUNT; i++)
		if (!shared->worked[i] && i != ACT_unknown_ioctl)
			return false;
	return true;
}

/*
 * The storm, for so long, and on a slow machine up to four times as long, until each
 * call has worked; returns how many were killed, -1 if one hung or ended by itself.
 */
static int storm(int seconds, long *least_kib)
{
	struct {
		unsigned int acts;
		long long since;
	} seen[PROCESSES] = {};
	const long long end = now_ms() + 1000LL * seconds, last = end + 3000LL * seconds;
	long long next_kill = 0;
	int killed = 0;

	for (int i = 0; i < PROCESSES; i++) {
		start(i);
		seen[i].since = now_ms();
	}
	while (now_ms() < end || (now_ms() < last && !all_worked())) {
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
	bool ended_all;

	state = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..3\n# %d s, seed %#llx\n", seconds, (unsigned long long)state);
	state = state * 0x9e3779b97f4a7c15ULL | 1;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	if (set_up_names()) {
		printf("Bail out! no mount: %s\n", strerror(errno));
		return 1;
	}
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
	clean_up_names();

	for (int i = 0; i < ACT_COUNT; i++) {
		calls += shared->tried[i];
		printf("#   %-16s %9lu of %9lu worked\n", act_names[i],
		       (unsigned long)shared->worked[i], (unsigned long)shared->tried[i]);
	}
	printf("# %lu calls, %d processes killed, %ld MiB of memory at the most\n", calls, killed,
	       (before - least) >> 10);
	result(killed > 0 && ended_all, "nothing_hangs");
	result(before - least < MEMORY_KIB, "memory_is_bounded_by_the_limits");
	result(all_worked(), "every_call_works_now_and_then");
	return failed;
}
