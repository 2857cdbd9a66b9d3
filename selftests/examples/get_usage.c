// SPDX-License-Identifier: GPL-2.0
#include "check.h"

static struct qemufile_usage usage_of(int fd)
{
	struct qemufile_usage usage;

	check(ioctl(fd, QEMUFILE_IOC_GET_USAGE, &usage) == 0);
	return usage;
}

int main(void)
{
	struct qemufile_open how = { .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE };
	uint64_t page = sysconf(_SC_PAGESIZE);
	int stream = open("/dev/qemufile", O_RDWR | O_CLOEXEC), fork;

	for (int i = 0; i < 100; i++)
		check(pwrite(stream, "a", 1, i * page) == 1);
	check(usage_of(stream).private_bytes == 100 * page);

	/* All is shared, until one of the two writes. Then each has a page of its own. */
	fork = ioctl(stream, QEMUFILE_IOC_CLONE, &how);
	check(fork >= 0);
	check(usage_of(stream).shared_bytes == 100 * page);
	check(pwrite(fork, "b", 1, 0) == 1);
	check(usage_of(fork).private_bytes == page);
	check(usage_of(fork).shared_bytes == 99 * page);
	check(usage_of(stream).private_bytes == page);
	return 0;
}
