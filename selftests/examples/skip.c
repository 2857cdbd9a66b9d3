// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_skip skip = { .length = 5 };
	char bytes[3];
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, "QEVM\3ram", 8) == 8);
	check(lseek(fd, 0, SEEK_SET) == 0);

	check(ioctl(fd, QEMUFILE_IOC_SKIP, &skip) == 0);
	check(skip.length == 5);
	check(read(fd, bytes, 3) == 3);
	check(memcmp(bytes, "ram", 3) == 0);

	/* Unlike lseek(), it does not go past the end: it says how far it came. */
	check(lseek(fd, 6, SEEK_SET) == 6);
	skip.length = 100;
	check(ioctl(fd, QEMUFILE_IOC_SKIP, &skip) == 0);
	check(skip.length == 2);
	check(lseek(fd, 0, SEEK_CUR) == 8);

	/* The end is no error. */
	skip.length = 1;
	check(ioctl(fd, QEMUFILE_IOC_SKIP, &skip) == 0);
	check(skip.length == 0);
	return 0;
}
