// SPDX-License-Identifier: GPL-2.0
/* A process of the storm: it does one act after the other until it is told to stop. */
#include "storm.h"

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

void run_process(unsigned int number, uint64_t seed)
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
