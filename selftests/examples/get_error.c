// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_limit limit = { .limit = 4 };
	struct qemufile_error error;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == 0);

	/* Seven bytes for four: the call tells what fitted, and not what is lost. */
	check(ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);
	check(write(fd, "QEVM\0\0\0", 7) == 4);

	/* That is latched, for whoever asks later. */
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == -ENOSPC);
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == -ENOSPC);

	/* fsync() tells it once, close() every time. */
	check(fails_with(ENOSPC, fsync(fd)));
	check(fsync(fd) == 0);
	check(fails_with(ENOSPC, close(dup(fd))));
	check(fails_with(ENOSPC, close(fd)));
	return 0;
}
