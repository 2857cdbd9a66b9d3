// SPDX-License-Identifier: GPL-2.0
#include "check.h"

#define SIZE (1 << 20)

int main(void)
{
	static char bytes[SIZE];
	struct qemufile_open open_for = { .mode = QEMUFILE_MODE_READ };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_info info;
	int writer = open("/dev/qemufile", O_RDWR | O_CLOEXEC), reader, log;

	check(writer >= 0);
	reader = ioctl(writer, QEMUFILE_IOC_BUFOPEN, &open_for);
	check(reader >= 0);

	/* Drained: what the reader has read is freed, and gone. */
	check(ioctl(writer, QEMUFILE_IOC_SET_FLAGS, &flags) == 0);
	check(write(writer, bytes, SIZE) == SIZE);
	check(read(reader, bytes, SIZE / 2) == SIZE / 2);
	check(ioctl(writer, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.drained == SIZE / 2 && info.allocated == SIZE / 2);
	check(info.length == SIZE);
	check(fails_with(ENXIO, pread(reader, bytes, 1, 0)));

	/* Sealed: nothing is written any more, readers need not wait for it, and nothing goes. */
	flags.set = QEMUFILE_STREAM_SEALED;
	check(ioctl(writer, QEMUFILE_IOC_SET_FLAGS, &flags) == 0);
	check(fails_with(EPERM, write(writer, "x", 1)));
	check(read(reader, bytes, SIZE) == SIZE / 2);
	check(read(reader, bytes, SIZE) == 0);
	check(pread(reader, bytes, SIZE, SIZE / 2) == SIZE / 2);

	/* Both are for good. */
	check(ioctl(writer, QEMUFILE_IOC_GET_INFO, &info) == 0);
	check(info.stream_flags == (QEMUFILE_STREAM_DRAIN | QEMUFILE_STREAM_SEALED));

	/* Append-only, which a stream that is drained cannot be: what is there stays as it is. */
	flags.set = QEMUFILE_STREAM_APPEND;
	check(fails_with(EPERM, ioctl(writer, QEMUFILE_IOC_SET_FLAGS, &flags)));
	log = open("/dev/qemufile", O_RDWR | O_CLOEXEC);
	check(ioctl(log, QEMUFILE_IOC_SET_FLAGS, &flags) == 0);
	check(write(log, "x", 1) == 1);
	check(fails_with(EPERM, pwrite(log, "y", 1, 0)));
	check(write(log, "y", 1) == 1);
	return 0;
}
