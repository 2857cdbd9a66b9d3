// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_error error = { .error = -EIO };
	struct qemufile_record record = { .type = QEMUFILE_BYTE, .value = 1 };
	struct qemufile_vector vector = { .records = (uintptr_t)&record, .count = 1 };
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	/* A VMM that cannot go on says so. */
	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_SET_ERROR, &error) == 0);

	/* The first error stays. */
	error.error = -ENOMEM;
	check(ioctl(fd, QEMUFILE_IOC_SET_ERROR, &error) == 0);
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == -EIO);

	/* Typed calls do nothing but return it; write() goes on. */
	check(fails_with(EIO, ioctl(fd, QEMUFILE_IOC_PUT, &vector)));
	check(vector.done == 0);
	check(write(fd, "x", 1) == 1);

	/* 0 forgets it. */
	error.error = 0;
	check(ioctl(fd, QEMUFILE_IOC_SET_ERROR, &error) == 0);
	check(ioctl(fd, QEMUFILE_IOC_PUT, &vector) == 0);
	check(close(fd) == 0);
	return 0;
}
