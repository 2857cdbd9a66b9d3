/* SPDX-License-Identifier: GPL-2.0 */
/* Streams to test: the ways to open one, and a fixture. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_STREAMS_H
#define QEMUFILE_SELFTESTS_STREAMS_H

static inline int open_device(int flags)
{
	return open(DEVICE, flags | O_CLOEXEC);
}

/*
 * The request for a handle with the access mode and the flags that open(2) would
 * have, as far as there are any for it.
 */
static inline struct qemufile_open opening(int flags)
{
	int mode = flags & O_ACCMODE;

	return (struct qemufile_open){
		.mode = (mode == O_WRONLY ? 0 : QEMUFILE_MODE_READ) |
			(mode == O_RDONLY ? 0 : QEMUFILE_MODE_WRITE),
		.flags = (flags & O_NONBLOCK ? QEMUFILE_OPEN_NONBLOCK : 0) |
			 (flags & O_APPEND ? QEMUFILE_OPEN_APPEND : 0),
	};
}

/* Another handle on the stream of @fd. */
static inline int open_handle(int fd, int flags)
{
	struct qemufile_open open = opening(flags);

	return ioctl(fd, QEMUFILE_IOC_BUFOPEN, &open);
}

/* A handle on a new stream with the bytes of @fd's. */
static inline int open_clone(int fd, int flags)
{
	struct qemufile_open open = opening(flags);

	return ioctl(fd, QEMUFILE_IOC_CLONE, &open);
}

/* The file of @fd opened once more, through /proc. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* A new stream, open as a regular file and not as the device. */
static inline int open_file(int flags)
{
	int device = open_device(flags & (O_ACCMODE | O_NONBLOCK)), fd, again;

	if (device < 0)
		return -1;
	fd = open_handle(device, flags);
	close(device);
	/* For flags that BUFOPEN does not know. */
	if (fd >= 0 && flags & ~(O_ACCMODE | O_NONBLOCK | O_APPEND)) {
		again = reopen(fd, flags);
		close(fd);
		fd = again;
	}
	return fd;
}

/*
 * A fixture with one stream, open for reading and writing; nobody else has it
 * open. Its tests run for each kind of file that a stream can be opened as.
 */
#define STREAM_FIXTURE(name)							\
	FIXTURE(name) {								\
		int fd;								\
	};									\
	FIXTURE_VARIANT(name) {							\
		int (*open)(int flags);						\
	};									\
	FIXTURE_VARIANT_ADD(name, device) {					\
		.open = open_device,						\
	};									\
	FIXTURE_VARIANT_ADD(name, file) {					\
		.open = open_file,						\
	};									\
	FIXTURE_SETUP(name)							\
	{									\
		self->fd = variant->open(O_RDWR);				\
		ASSERT_LE(0, self->fd) TH_LOG("no stream: %m");			\
	}									\
	FIXTURE_TEARDOWN(name)							\
	{									\
		close(self->fd);						\
	}

/* The length of the stream; the file's position stays. */
static inline long long length_of(int fd)
{
	off_t pos = lseek(fd, 0, SEEK_CUR);
	off_t end = lseek(fd, 0, SEEK_END);

	return pos < 0 || lseek(fd, pos, SEEK_SET) != pos ? -1 : end;
}

/* How many references the module has; -1 if that cannot be told. */
static inline int references(void)
{
	FILE *file = fopen("/sys/module/qemufile/refcnt", "re");
	int count = -1;

	if (file) {
		if (fscanf(file, "%d", &count) != 1)
			count = -1;
		fclose(file);
	}
	return count;
}

#endif /* QEMUFILE_SELFTESTS_STREAMS_H */
