// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_open open_for = { .mode = QEMUFILE_MODE_READ };
	char bytes[8], path[32];
	int writer = open("/dev/qemufile", O_WRONLY | O_CLOEXEC), reader;

	/* Never more access than the handle that is asked. */
	check(writer >= 0);
	check(fails_with(EACCES, ioctl(writer, QEMUFILE_IOC_BUFOPEN, &open_for)));
	close(writer);

	writer = open("/dev/qemufile", O_RDWR | O_CLOEXEC);
	check(writer >= 0);
	reader = ioctl(writer, QEMUFILE_IOC_BUFOPEN, &open_for);
	check(reader >= 0);
	check(fcntl(reader, F_GETFD) == FD_CLOEXEC);

	/* One stream, and a position each. */
	check(write(writer, "state", 5) == 5);
	check(lseek(reader, 0, SEEK_CUR) == 0);
	check(read(reader, bytes, 8) == 5);
	check(memcmp(bytes, "state", 5) == 0);
	check(fails_with(EBADF, write(reader, "x", 1)));

	/* When the last writer is gone, the end is the end; a read would wait before. */
	close(writer);
	check(read(reader, bytes, 8) == 0);

	/* It is a regular file: it can be opened once more by its name in /proc. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", reader);
	check(open(path, O_RDONLY) >= 0);
	check(fails_with(EACCES, open(path, O_RDWR)));
	return 0;
}
