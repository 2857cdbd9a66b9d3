// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	struct qemufile_ram_control hook = { .op = QEMUFILE_RAM_BEFORE_ITERATE };
	struct qemufile_error error;
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	/* A stream in memory has nothing to do before and after a pass over the guest's. */
	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_RAM_CONTROL, &hook) == 0);
	hook.op = QEMUFILE_RAM_AFTER_ITERATE;
	check(ioctl(fd, QEMUFILE_IOC_RAM_CONTROL, &hook) == 0);

	/* A stream that asks for a hook was written for another backend. */
	hook.op = QEMUFILE_RAM_LOAD_HOOK;
	check(fails_with(EINVAL, ioctl(fd, QEMUFILE_IOC_RAM_CONTROL, &hook)));

	/* It cannot be loaded: as in QEMU, the error is latched. */
	check(ioctl(fd, QEMUFILE_IOC_GET_ERROR, &error) == 0);
	check(error.error == -EINVAL);
	return 0;
}
