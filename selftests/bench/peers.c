// SPDX-License-Identifier: GPL-2.0
/* What is measured: a stream of /dev/qemufile, and what programs use instead. */
#include "bench.h"

#define CHANNEL MiB

const char *peer_name(enum peer peer)
{
	static const char *const names[PEERS] = {
		[QEMUFILE] = "qemufile", [MEMFD] = "memfd", [TMPFS] = "tmpfs", [PIPE] = "pipe",
		[SOCKET] = "socket", [MEMCPY] = "memcpy",
	};

	return names[peer];
}

int open_peer(const struct run *run)
{
	int fd = -1;

	switch (run->peer) {
	case QEMUFILE:
		fd = open("/dev/qemufile", O_RDWR | O_CLOEXEC);
		break;
	case MEMFD:
		fd = memfd_create("bench", MFD_CLOEXEC);
		break;
	case TMPFS:
		fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		break;
	default:
		errno = EINVAL;
	}
	must(run, "open", fd >= 0);
	return fd;
}

void set_length(const struct run *run, int fd, long length)
{
	struct qemufile_length wanted = { .length = length };

	if (run->peer == QEMUFILE)
		must(run, "SET_LENGTH", ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &wanted) == 0);
	else
		must(run, "ftruncate", ftruncate(fd, length) == 0);
}

void write_all(const struct run *run, int fd, long len, long record)
{
	for (long at = 0; at < len; at += record)
		must(run, "write", write(fd, pattern, record) == record);
}

int open_filled(const struct run *run, long len)
{
	int fd = open_peer(run);

	write_all(run, fd, len, len < PATTERN ? len : PATTERN);
	return fd;
}

int clone_of(const struct run *run, int fd, long len)
{
	struct qemufile_open how = { .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE };
	off_t from = 0;
	int clone;

	if (run->peer == QEMUFILE) {
		clone = ioctl(fd, QEMUFILE_IOC_CLONE, &how);
		must(run, "CLONE", clone >= 0);
		return clone;
	}
	clone = open_peer(run);
	while (from < len)
		must(run, "copy_file_range",
		     copy_file_range(fd, &from, clone, NULL, len - from, 0) > 0);
	return clone;
}

void open_channel(const struct run *run, int *reader, int *writer)
{
	struct qemufile_open read_only = { .mode = QEMUFILE_MODE_READ };
	struct qemufile_open write_only = { .mode = QEMUFILE_MODE_WRITE };
	struct qemufile_limit limit = { .limit = CHANNEL };
	struct qemufile_flags drain = { .set = QEMUFILE_STREAM_DRAIN };
	int fds[2], stream, size = CHANNEL;

	switch (run->peer) {
	case PIPE:
		must(run, "pipe2", pipe2(fds, O_CLOEXEC) == 0);
		must(run, "F_SETPIPE_SZ", fcntl(fds[1], F_SETPIPE_SZ, size) == size);
		break;
	case SOCKET:
		must(run, "socketpair",
		     socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
		must(run, "SO_SNDBUF", setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size,
						  sizeof(size)) == 0);
		break;
	default:
		stream = open_peer(run);
		must(run, "SET_LIMIT", ioctl(stream, QEMUFILE_IOC_SET_LIMIT, &limit) == 0);
		must(run, "SET_FLAGS", ioctl(stream, QEMUFILE_IOC_SET_FLAGS, &drain) == 0);
		fds[0] = ioctl(stream, QEMUFILE_IOC_BUFOPEN, &read_only);
		fds[1] = ioctl(stream, QEMUFILE_IOC_BUFOPEN, &write_only);
		must(run, "BUFOPEN", fds[0] >= 0 && fds[1] >= 0);
		close(stream);
	}
	*reader = fds[0];
	*writer = fds[1];
}

void close_file(struct run *run)
{
	close(run->fd);
}
