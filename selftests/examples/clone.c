// SPDX-License-Identifier: GPL-2.0
#include "check.h"

#define SIZE (64 << 20)

int main(void)
{
	struct qemufile_open open_for = { .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE };
	struct qemufile_info info;
	char *state = calloc(1, SIZE), bytes[6];
	int first = open("/dev/qemufile", O_RDWR | O_CLOEXEC), second;

	check(first >= 0 && state);
	memcpy(state, "before", 6);
	check(write(first, state, SIZE) == SIZE);

	/* A stream of its own, with the same bytes. None of them is copied. */
	second = ioctl(first, QEMUFILE_IOC_CLONE, &open_for);
	check(second >= 0);
	check(ioctl(second, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.length == SIZE && info.position == 0);
	check(info.readers == 1 && info.writers == 1);

	/* Whatever happens to one is nothing to the other. */
	check(pwrite(first, "after!", 6, 0) == 6);
	check(pread(second, bytes, 6, 0) == 6);
	check(memcmp(bytes, "before", 6) == 0);
	close(first);
	check(pread(second, state, SIZE, 0) == SIZE);
	check(memcmp(state, "before", 6) == 0);

	/* Who may not write the source gets no clone to write. */
	open_for.mode = QEMUFILE_MODE_READ;
	first = ioctl(second, QEMUFILE_IOC_BUFOPEN, &open_for);
	open_for.mode = QEMUFILE_MODE_WRITE;
	check(fails_with(EACCES, ioctl(first, QEMUFILE_IOC_CLONE, &open_for)));
	return 0;
}
