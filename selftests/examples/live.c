// SPDX-License-Identifier: GPL-2.0
#include <sys/wait.h>

#include "check.h"

#define MEMORY (16 << 20)	/* what the guest has */
#define WINDOW (1 << 20)	/* what may be on its way */

static char bytes[1 << 16];

/* The other VMM: takes what comes until nobody can send any more. */
static int destination(int stream)
{
	long long sum = 0;
	ssize_t got;

	while ((got = read(stream, bytes, sizeof(bytes))) > 0)
		sum += got;
	check(got == 0 && sum == MEMORY);
	return 0;
}

int main(void)
{
	struct qemufile_open open_for = { .mode = QEMUFILE_MODE_READ };
	struct qemufile_flags drain = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_limit limit = { .limit = WINDOW };
	struct qemufile_info info;
	int writer = open("/dev/qemufile", O_RDWR | O_CLOEXEC), reader, status;

	check(writer >= 0);
	reader = ioctl(writer, QEMUFILE_IOC_BUFOPEN, &open_for);
	check(reader >= 0);
	check(ioctl(writer, QEMUFILE_IOC_SET_FLAGS, &drain) == 0);
	check(ioctl(writer, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);

	if (fork() == 0) {
		/* It must not have what it waits for to be closed. */
		close(writer);
		return destination(reader);
	}
	close(reader);

	/* Sixteen times what the stream may hold: write() waits for the reader. */
	for (int done = 0; done < MEMORY; done += sizeof(bytes)) {
		check(write(writer, bytes, sizeof(bytes)) == sizeof(bytes));
		check(ioctl(writer, QEMUFILE_IOC_GET_INFO, &info) == 0);
		check(info.length - info.drained <= WINDOW);
	}
	check(close(writer) == 0);
	check(wait(&status) > 0 && status == 0);
	return 0;
}
