// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_length length = { .length = 1ULL << 40 };
	struct qemufile_info info;
	char bytes[8];
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, "QEMU", 4) == 4);

	/* Longer: a hole of a tebibyte, which takes no memory. */
	check(ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length) == 0);
	check(length.length == 1ULL << 40);
	check(ioctl(fd, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.allocated == (uint64_t)sysconf(_SC_PAGESIZE));

	/* Shorter, and longer again: what was cut off is zero, not "MU". */
	length.length = 2;
	check(ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length) == 0);
	length.length = 8;
	check(ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length) == 0);
	check(pread(fd, bytes, 8, 0) == 8);
	check(memcmp(bytes, "QE\0\0\0\0\0\0", 8) == 0);

	/* The position stays where it is, be that past the end. */
	check(lseek(fd, 0, SEEK_CUR) == 4);

	/* No stream is longer than the largest offset of a file. */
	length.length = 1ULL << 63;
	check(fails_with(EFBIG, ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length)));
	return 0;
}
