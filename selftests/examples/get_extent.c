// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_extent extent = { .start = 0 };
	uint64_t data = 0, holes = 0;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(pwrite(fd, "head", 4, 0) == 4);
	check(pwrite(fd, "tail", 4, 1 << 20) == 4);

	/* From one run of bytes to the next, until there is none. */
	for (;;) {
		check(ioctl(fd, QEMUFILE_IOC_GET_EXTENT, &extent) == 0);
		if (extent.length == 0)
			break;
		if (extent.kind == QEMUFILE_EXTENT_DATA)
			data += extent.length;
		else
			holes += extent.length;
		extent.start += extent.length;
	}
	check(extent.start == (1 << 20) + 4);
	check(data + holes == extent.start);

	/* Data comes in pages: the first one to its end, the last one to the stream's. */
	check(data == (uint64_t)sysconf(_SC_PAGESIZE) + 4);

	/* lseek() sees the same. */
	check(lseek(fd, 0, SEEK_HOLE) == sysconf(_SC_PAGESIZE));
	check(lseek(fd, sysconf(_SC_PAGESIZE), SEEK_DATA) == 1 << 20);
	return 0;
}
