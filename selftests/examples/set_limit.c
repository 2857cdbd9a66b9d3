// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_limit limit = { .limit = 8 };
	struct qemufile_length length = { .length = 9 };
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);

	/* What fits is written; then there is no room. */
	check(write(fd, "migration", 9) == 8);
	check(fails_with(ENOSPC, write(fd, "n", 1)));
	/* It is the length that counts, and holes count too. */
	check(fails_with(ENOSPC, ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length)));
	/* What is there may be written over. */
	check(pwrite(fd, "M", 1, 0) == 1);

	/* A limit below what there is takes nothing away. */
	limit.limit = 4;
	check(ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);
	check(lseek(fd, 0, SEEK_END) == 8);

	/* 0 is none. */
	limit.limit = 0;
	check(ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);
	check(write(fd, "n", 1) == 1);
	return 0;
}
