// SPDX-License-Identifier: GPL-2.0
#include <poll.h>

#include "check.h"

int main(void)
{
	static const char bytes[5000];
	struct qemufile_rate rate = { .op = QEMUFILE_RATE_SET, .limit = 4000 };
	struct pollfd polled = { .events = POLLOUT };
	int fd = open("/dev/qemufile", O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	/* QEMU's way: whoever writes asks, and nobody is held up. */
	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate) == 0);
	check(write(fd, bytes, 5000) == 5000);
	rate = (struct qemufile_rate){ .op = QEMUFILE_RATE_GET };
	check(ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate) == 0);
	check(rate.exceeded && rate.limit == 4000 && rate.xfer == 5000);
	rate = (struct qemufile_rate){ .op = QEMUFILE_RATE_RESET };
	check(ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate) == 0);
	check(!rate.exceeded && rate.xfer == 0);

	/* Kept by the kernel: 10000 bytes a second, a tenth of a second's worth at once. */
	rate = (struct qemufile_rate){
		.op = QEMUFILE_RATE_SET, .flags = QEMUFILE_RATE_KEEP, .limit = 10000,
	};
	check(ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, &rate) == 0);
	check(write(fd, bytes, 5000) == 1000);
	check(fails_with(EAGAIN, write(fd, bytes, 5000)));

	/* poll() says when there is room, which takes a tenth of a second. */
	polled.fd = fd;
	check(poll(&polled, 1, 0) == 0);
	check(poll(&polled, 1, 5000) == 1 && polled.revents == POLLOUT);
	check(write(fd, bytes, 5000) > 0);
	return 0;
}
