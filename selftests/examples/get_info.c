// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_info info;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	/* Five bytes behind a hole of a mebibyte. */
	check(pwrite(fd, "state", 5, 1 << 20) == 5);
	check(lseek(fd, 3, SEEK_SET) == 3);

	check(ioctl(fd, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.length == (1 << 20) + 5);
	check(info.position == 3);
	/* Holes take no memory: this is one page. */
	check(info.allocated == (uint64_t)sysconf(_SC_PAGESIZE));
	check(info.chunks == 1);

	/* This handle is both the only reader and the only writer. */
	check(info.mode == (QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE));
	check(info.readers == 1 && info.writers == 1);

	/* Nothing has been asked for, and nothing has gone wrong. */
	check(info.stream_flags == 0 && info.drained == 0);
	check(info.limit == 0 && info.rate_limit == 0);
	check(info.xfer == 5 && info.error == 0);
	return 0;
}
