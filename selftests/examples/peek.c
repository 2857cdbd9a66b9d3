// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	char name[3];
	/* A section's name: its length, and as many bytes. */
	struct qemufile_record records[] = {
		{ .type = QEMUFILE_BYTE },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)name, .length = 3 },
	};
	struct qemufile_vector vector = { .records = (uintptr_t)records, .count = 2 };
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, "QEVM\3ram", 8) == 8);
	check(lseek(fd, 0, SEEK_SET) == 0);

	/* From four bytes after the position on, one value after the other. */
	vector.offset = 4;
	check(ioctl(fd, QEMUFILE_IOC_PEEK, &vector) == 0);
	check(vector.done == 2);
	check(records[0].value == 3);
	check(memcmp(name, "ram", 3) == 0);

	/* The position stays: the same values can be looked at again, or got. */
	check(lseek(fd, 0, SEEK_CUR) == 0);
	check(ioctl(fd, QEMUFILE_IOC_PEEK, &vector) == 0);
	check(vector.done == 2 && records[0].value == 3);

	/* Only PEEK looks elsewhere than at the position. */
	check(fails_with(EINVAL, ioctl(fd, QEMUFILE_IOC_GET, &vector)));
	return 0;
}
