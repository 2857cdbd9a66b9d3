// SPDX-License-Identifier: GPL-2.0
#include "check.h"

/* Copies what has changed between two snapshots, and nothing else: an incremental save. */
static uint64_t save_changes(int before, int after, int out)
{
	struct qemufile_diff diff = { .fd = before };
	static char bytes[1 << 20];
	uint64_t sum = 0;

	for (;;) {
		check(ioctl(after, QEMUFILE_IOC_DIFF, &diff) == 0);
		if (diff.length == 0)
			return sum;
		while (diff.length > 0) {
			uint64_t part = diff.length < sizeof(bytes) ? diff.length : sizeof(bytes);

			/* A page that the newer one does not have reads as zeros. */
			check(pread(after, bytes, part, diff.start) == (ssize_t)part);
			check(pwrite(out, bytes, part, diff.start) == (ssize_t)part);
			diff.start += part;
			diff.length -= part;
			sum += part;
		}
	}
}

int main(void)
{
	struct qemufile_open how = { .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE };
	int page = sysconf(_SC_PAGESIZE), stream = open("/dev/qemufile", O_RDWR | O_CLOEXEC);
	int before, after, saved;
	char byte;

	for (int i = 0; i < 1000; i++)
		check(pwrite(stream, "a", 1, i * page) == 1);
	before = ioctl(stream, QEMUFILE_IOC_CLONE, &how);
	check(before >= 0);
	check(pwrite(stream, "b", 1, 500 * page) == 1);
	check(pwrite(stream, "b", 1, 501 * page) == 1);
	after = ioctl(stream, QEMUFILE_IOC_CLONE, &how);
	check(after >= 0);

	saved = ioctl(before, QEMUFILE_IOC_CLONE, &how);
	check(saved >= 0);
	check(save_changes(before, after, saved) == (uint64_t)2 * page);
	check(pread(saved, &byte, 1, 501 * page) == 1 && byte == 'b');
	check(pread(saved, &byte, 1, 502 * page) == 1 && byte == 'a');
	return 0;
}
