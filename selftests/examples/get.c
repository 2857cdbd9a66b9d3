// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	char name[3];
	struct qemufile_record records[] = {
		{ .type = QEMUFILE_BE32 },
		{ .type = QEMUFILE_BYTE },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)name, .length = 3 },
		{ .type = QEMUFILE_BE64 },
	};
	struct qemufile_vector vector = { .records = (uintptr_t)records, .count = 3 };
	struct qemufile_error error;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	check(fd >= 0);
	check(write(fd, "QEVM\3ramEND", 11) == 11);
	check(lseek(fd, 0, SEEK_SET) == 0);

	check(ioctl(fd, QEMUFILE_IOC_GET, &vector) == 0);
	check(vector.done == 3);
	check(records[0].value == 0x5145564d);
	check(records[1].value == 3);
	check(memcmp(name, "ram", 3) == 0 && records[2].length == 3);
	check(lseek(fd, 0, SEEK_CUR) == 8);

	/* Three bytes are no be64. A stream that ends amid a value is broken: EIO stays. */
	vector.records = (uintptr_t)&records[3];
	vector.count = 1;
	check(fails_with(EIO, ioctl(fd, QEMUFILE_IOC_GET, &vector)));
	check(vector.done == 0);
	check(lseek(fd, 0, SEEK_CUR) == 8);
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == -EIO);

	/* read() takes what there is. */
	check(read(fd, name, 3) == 3 && memcmp(name, "END", 3) == 0);
	return 0;
}
