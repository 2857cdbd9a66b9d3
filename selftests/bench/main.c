// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the works round by round, and prints a line of JSON for each round: work, peer,
 * round, ns, bytes, and what else there is: threads, record, size, calls, held, and the
 * instructions of the processor if the machine counts them.
 */
#include <getopt.h>
#include <linux/perf_event.h>
#include <regex.h>
#include <sys/syscall.h>
#include <time.h>

#include "bench.h"

#define MAX_RUNS 64

static const struct subject *const subjects[] = {
	&files, &threads, &live, &splices, &maps, &calls, &clones, &growth,
};

char *pattern;
static long available;
static int counter = -1;

long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void failed(const struct run *run, const char *call)
{
	int error = errno;

	fflush(stdout);
	fprintf(stderr, "bench: %s, %s: %s: %s\n", run->work->name, peer_name(run->peer), call,
		strerror(error));
	exit(1);
}

/* SplitMix64. */
uint64_t any(uint64_t *seed, uint64_t below)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % below;
}

long memory_available(void)
{
	char line[128];
	FILE *file;

	if (available)
		return available;
	file = fopen("/proc/meminfo", "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld", &available) == 1)
			break;
	if (file)
		fclose(file);
	available *= KiB;
	return available;
}

int processors(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < processors(); i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	/* A kernel for one processor has no such call. */
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* Instructions of this process and those that it makes, in user space and in the kernel. */
static void open_counter(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.inherit = 1,
		.exclude_hv = 1,
	};

	counter = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static long long instructions(void)
{
	long long count;

	return counter >= 0 && read(counter, &count, sizeof(count)) == sizeof(count) ? count : -1;
}

static void call(void (*step)(struct run *), struct run *run)
{
	if (step)
		step(run);
}

static void print(const struct run *run, int round, long long counted)
{
	printf("{\"work\": \"%s\", \"peer\": \"%s\", \"round\": %d, \"ns\": %lld, \"bytes\": %ld",
	       run->work->name, peer_name(run->peer), round, run->ns, run->bytes);
	if (run->work->threads)
		printf(", \"threads\": %d", run->work->threads);
	if (run->work->record)
		printf(", \"record\": %ld", run->work->record);
	if (run->work->size)
		printf(", \"size\": %ld", run->work->size);
	if (run->calls)
		printf(", \"calls\": %ld", run->calls);
	if (run->held)
		printf(", \"held\": %lld", run->held);
	if (counted >= 0)
		printf(", \"instructions\": %lld", counted);
	puts("}");
	fflush(stdout);
}

static void measure(struct run *run, int round)
{
	long long start, counted;

	pin_to(processors() - 1);
	call(run->work->before, run);
	run->ns = -1;
	counted = instructions();
	start = now_ns();
	run->work->round(run);
	if (run->ns < 0)
		run->ns = now_ns() - start;
	if (counted >= 0)
		counted = instructions() - counted;
	call(run->work->after, run);
	/* The first is for caches, and for memory that the machine touches for the first time. */
	if (round > 0)
		print(run, round, counted);
}

/* Works that are joined, all peers of each, interleaved. */
static void measure_together(struct run *runs, int count, int rounds)
{
	for (int i = 0; i < count; i++)
		call(runs[i].work->prepare, &runs[i]);
	/* Each begins a round in turn: whoever comes first finds other caches. */
	for (int round = 0; round <= rounds; round++)
		for (int i = 0; i < count; i++)
			measure(&runs[(i + round) % count], round);
	for (int i = 0; i < count; i++)
		call(runs[i].work->finish, &runs[i]);
}

static void usage(FILE *file)
{
	fputs("Usage: bench [-w REGEX] [-p PEER,...] [-r ROUNDS] [-s MIB] [-l]\n"
	      "Prints a line of JSON for each round of each work on each peer.\n"
	      "  -w  works whose name matches (extended, anywhere)\n"
	      "  -p  these peers only: qemufile, memfd, tmpfs, pipe, socket, memcpy\n"
	      "  -r  rounds (9)\n"
	      "  -s  MiB of one round (64), where the work does not say how much\n"
	      "  -l  list the works and their peers\n", file);
}

int main(int argc, char **argv)
{
	unsigned int peers = ONLY(PEERS) - 1;
	int option, rounds = 9, count = 0, found = 0;
	static struct run runs[MAX_RUNS];
	long bytes = 64 * MiB;
	bool list = false;
	regex_t wanted;

	regcomp(&wanted, "", REG_EXTENDED | REG_NOSUB);
	while ((option = getopt(argc, argv, "w:p:r:s:lh")) != -1) {
		switch (option) {
		case 'w':
			regfree(&wanted);
			if (regcomp(&wanted, optarg, REG_EXTENDED | REG_NOSUB)) {
				fprintf(stderr, "bench: '%s' is no regular expression\n", optarg);
				return 2;
			}
			break;
		case 'p':
			peers = 0;
			for (enum peer peer = 0; peer < PEERS; peer++)
				if (strstr(optarg, peer_name(peer)))
					peers |= ONLY(peer);
			break;
		case 'r':
			rounds = atoi(optarg);
			break;
		case 's':
			bytes = atol(optarg) * MiB;
			break;
		case 'l':
			list = true;
			break;
		default:
			usage(option == 'h' ? stdout : stderr);
			return option == 'h' ? 0 : 2;
		}
	}
	if (rounds < 1 || bytes < 2 * MiB || !peers || optind < argc) {
		usage(stderr);
		return 2;
	}
	pattern = mmap(NULL, PATTERN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (pattern == MAP_FAILED)
		return 1;
	for (long i = 0; i < PATTERN; i++)
		pattern[i] = i ^ (i >> 8);
	memory_available();
	open_counter();

	for (size_t s = 0; s < ARRAY_LEN(subjects); s++) {
		for (size_t w = 0; w < subjects[s]->count; w++) {
			const struct work *work = &subjects[s]->works[w];

			if (!work->joined && count) {
				measure_together(runs, count, rounds);
				count = 0;
			}
			if (regexec(&wanted, work->name, 0, NULL, 0))
				continue;
			for (enum peer peer = 0; peer < PEERS; peer++) {
				if (!(work->peers & peers & ONLY(peer)) ||
				    (work->possible && !work->possible(work, peer)))
					continue;
				found++;
				if (list)
					printf("%s, %s\n", work->name, peer_name(peer));
				else if (count < MAX_RUNS)
					runs[count++] = (struct run){
						.work = work, .peer = peer, .bytes = bytes,
					};
			}
		}
		if (count)
			measure_together(runs, count, rounds);
		count = 0;
	}
	if (!found)
		fprintf(stderr, "bench: no such work on this machine: see bench -l\n");
	return !found;
}
