// SPDX-License-Identifier: GPL-2.0
/* Calls that move bytes: vectors, pipes, copies and clones of ranges. */
#include "storm.h"

struct iovec *vectors(int *count)
{
	static struct iovec iov[8];

	*count = one_in(32) ? (int)edge() : (int)below(ARRAY_LEN(iov) + 1);
	if (*count > (int)ARRAY_LEN(iov))
		*count = 1025;		/* refused before it is looked at */
	for (size_t i = 0; i < ARRAY_LEN(iov); i++) {
		iov[i].iov_len = size();
		iov[i].iov_base = address(iov[i].iov_len);
	}
	return iov;
}

int rw_flags(void)
{
	static const int flags[] = {
		RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT, RWF_APPEND, 0x20 /* NOAPPEND */,
		0x40 /* ATOMIC */,
	};

	return (one_in(2) ? 0 : flags[below(ARRAY_LEN(flags))]) |
	       (one_in(4) ? RWF_NOWAIT : 0) | (one_in(64) ? edge() : 0);
}

int to_pipe(void)
{
	loff_t offset = place();

	return splice(handle(), one_in(2) ? &offset : NULL, pipe_fds[1], NULL, size(),
		      SPLICE_F_NONBLOCK | (one_in(2) ? SPLICE_F_MOVE : 0));
}

int from_pipe(void)
{
	loff_t offset = place();

	return splice(pipe_fds[0], NULL, handle(), one_in(2) ? &offset : NULL, size(),
		      SPLICE_F_NONBLOCK | (one_in(2) ? SPLICE_F_MOVE : 0));
}

/* Pages that are the pipe's from now on, and a stream's as soon as it takes them. */
int gift(void)
{
	struct iovec iov = { .iov_len = PAGE * (1 + below(4)) };
	int result;

	iov.iov_base = mmap(NULL, iov.iov_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (iov.iov_base == MAP_FAILED)
		return -1;
	result = vmsplice(pipe_fds[1], &iov, 1, SPLICE_F_NONBLOCK | SPLICE_F_GIFT);
	munmap(iov.iov_base, iov.iov_len);
	return result;
}

int copy_some(void)
{
	loff_t from = place(), to = place();

	return copy_file_range(handle(), one_in(2) ? &from : NULL,
			       handle(), one_in(2) ? &to : NULL, place(), 0);
}

/* Files of two mounts cannot share; a clone is of the same mount. */
int clone_range(void)
{
	struct qemufile_open open = { .mode = QEMUFILE_MODE_READ };
	int to = handle(), clone = one_in(2) ? ioctl(to, QEMUFILE_IOC_CLONE, &open) : -1;
	struct file_clone_range range = {
		.src_fd = clone >= 0 ? clone : handle(), .src_offset = place(),
		.src_length = place(), .dest_offset = place(),
	};
	int result = one_in(2) ? ioctl(to, FICLONERANGE, &range) :
				 ioctl(to, FICLONE, range.src_fd);

	if (clone >= 0)
		close(clone);
	return result;
}
