// SPDX-License-Identifier: GPL-2.0
#include "check.h"

int main(void)
{
	static const char page[4096];
	struct qemufile_save_page save = { .block_offset = 0, .offset = 8192, .size = 4096 };
	int fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);

	/* Will the backend take the page its own way, as one for RDMA would? */
	check(fd >= 0);
	check(ioctl(fd, QEMUFILE_IOC_SAVE_PAGE, &save) == 0);
	check(save.result == QEMUFILE_SAVE_PAGE_NOT_SUPP);
	check(save.bytes_sent == 0);

	/* No: it goes into the stream like everything else. */
	check(lseek(fd, 0, SEEK_CUR) == 0);
	check(write(fd, page, sizeof(page)) == sizeof(page));
	return 0;
}
