// SPDX-License-Identifier: GPL-2.0
/* One process writes, another reads at the same time; at most 1 MiB is under way. */
#include "bench.h"

static void transfer(struct run *run)
{
	long record = run->work->record, left = run->bytes;
	int reader, writer, gate[2], status;
	char go = 'g';
	pid_t child;
	ssize_t got;

	open_channel(run, &reader, &writer);
	must(run, "pipe2", pipe2(gate, O_CLOEXEC) == 0);
	/* Where they run is the scheduler's choice, as for two VMMs. */
	pin_to(-1);
	child = fork();
	must(run, "fork", child >= 0);
	if (child == 0) {
		close(reader);
		if (read(gate[0], &go, 1) != 1)
			_exit(1);
		/* Whole records: a short write is completed, as QEMU does it. */
		while (left > 0) {
			long at = 0;

			while (at < record) {
				ssize_t done = write(writer, pattern + at, record - at);

				if (done <= 0)
					_exit(1);
				at += done;
			}
			left -= record;
		}
		_exit(0);
	}
	close(writer);
	run->ns = now_ns();
	must(run, "write", write(gate[1], &go, 1) == 1);
	while ((got = read(reader, pattern, record)) > 0)
		left -= got;
	run->ns = now_ns() - run->ns;
	must(run, "waitpid", waitpid(child, &status, 0) == child);
	must(run, "transfer", got == 0 && left == 0 && status == 0);
	close(reader);
	close(gate[0]);
	close(gate[1]);
}

static const struct work works[] = {
	{ .name = "live, drained, 64 KiB", .peers = CHANNELS, .record = 64 * KiB, .round = transfer },
	{ .name = "live, drained, 4 KiB", .peers = CHANNELS, .record = 4 * KiB, .round = transfer },
};

const struct subject live = { works, ARRAY_LEN(works) };
