// SPDX-License-Identifier: GPL-2.0
#include "check.h"

#define SIZE (1 << 20)

int main(void)
{
	static char bytes[SIZE];
	struct qemufile_range range = { .start = 1, .length = SIZE - 2 };
	struct qemufile_info info;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	memset(bytes, 'x', SIZE);
	check(write(fd, bytes, SIZE) == SIZE);

	/* All but the first and the last byte. */
	check(ioctl(fd, QEMUFILE_IOC_PUNCH, &range) == 0);
	check(pread(fd, bytes, SIZE, 0) == SIZE);
	check(bytes[0] == 'x' && bytes[SIZE - 1] == 'x');
	for (int i = 1; i < SIZE - 1; i++)
		check(bytes[i] == 0);

	/* The pages in between are free, the length is what it was. */
	check(ioctl(fd, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.allocated == 2 * (uint64_t)sysconf(_SC_PAGESIZE));
	check(info.length == SIZE);

	range.length = 0;
	check(fails_with(EINVAL, ioctl(fd, QEMUFILE_IOC_PUNCH, &range)));
	return 0;
}
