// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	static const char name[] = "ram";
	/* How a stream of QEMU's begins: magic, version, a section and its name. */
	struct qemufile_record records[] = {
		{ .type = QEMUFILE_BE32, .value = 0x5145564d },
		{ .type = QEMUFILE_BE32, .value = 3 },
		{ .type = QEMUFILE_BYTE, .value = 1 },
		{ .type = QEMUFILE_BYTE, .value = strlen(name) },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)name, .length = strlen(name) },
	};
	struct qemufile_vector vector = { .records = (uintptr_t)records, .count = 5 };
	char bytes[16];
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_PUT, &vector) == 0);
	check(vector.done == 5);

	/* They are where write() would have put them, the highest byte first. */
	check(lseek(fd, 0, SEEK_CUR) == 13);
	check(pread(fd, bytes, 16, 0) == 13);
	check(memcmp(bytes, "QEVM\0\0\0\3\1\3ram", 13) == 0);

	/* A value that does not fit its type ends the call; what went before is done. */
	records[2].value = 256;
	check(fails_with(EINVAL, ioctl(fd, QEMUFILE_IOC_PUT, &vector)));
	check(vector.done == 2);
	check(lseek(fd, 0, SEEK_CUR) == 13 + 8);
	return 0;
}
