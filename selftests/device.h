/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device that stores to memory when the test says so: a file of a FUSE mount,
 * whose reads bypass the page cache. The kernel pins the reader's memory until
 * the answer comes, as it does for O_DIRECT. Include it after harness.h.
 */
#ifndef QEMUFILE_SELFTESTS_DEVICE_H
#define QEMUFILE_SELFTESTS_DEVICE_H

#include <linux/fuse.h>
#include <sys/mount.h>

#define DEVICE_FILE "/tmp/qemufile-device"

struct dma {
	/* The device's side. */
	int fuse;
	pthread_t thread;
	/* Where to read to. */
	void *memory;
	size_t len;
	ssize_t done;
	/* The request to answer. */
	uint64_t unique;
};

static inline bool dma_answer(struct dma *dma, uint64_t unique, const void *data, size_t len)
{
	struct fuse_out_header header = { .len = sizeof(header) + len, .unique = unique };
	struct iovec vec[] = { { &header, sizeof(header) }, { (void *)data, len } };

	return writev(dma->fuse, vec, len ? 2 : 1) == (ssize_t)header.len;
}

/* Answers requests up to the next one that reads. */
static inline bool dma_next_read(struct dma *dma)
{
	static char buffer[FUSE_MIN_READ_BUFFER + 256 * 1024];
	struct fuse_in_header *in = (void *)buffer;

	for (;;) {
		struct fuse_init_out init = {
			.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096,
		};
		struct fuse_attr_out attr = {
			.attr_valid = 1000,
			.attr = { .ino = 1, .size = MiB, .mode = S_IFREG | 0600, .nlink = 1 },
		};
		struct fuse_open_out open = { .open_flags = FOPEN_DIRECT_IO };
		bool ok = true;

		if (read(dma->fuse, buffer, sizeof(buffer)) < (ssize_t)sizeof(*in))
			return false;
		switch (in->opcode) {
		case FUSE_INIT:
			ok = dma_answer(dma, in->unique, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			ok = dma_answer(dma, in->unique, &attr, sizeof(attr));
			break;
		case FUSE_OPEN:
			ok = dma_answer(dma, in->unique, &open, sizeof(open));
			break;
		case FUSE_READ:
			dma->unique = in->unique;
			return true;
		case FUSE_FORGET:
		case FUSE_INTERRUPT:
			break;
		default:
			ok = dma_answer(dma, in->unique, NULL, 0);
		}
		if (!ok)
			return false;
	}
}

static inline void *dma_read(void *data)
{
	struct dma *dma = data;
	int fd;

	/* A test that fails closes the device's side then, which ends the read. */
	if (unshare(CLONE_FILES))
		return NULL;
	close(dma->fuse);
	fd = open(DEVICE_FILE, O_RDONLY | O_CLOEXEC);
	dma->done = fd < 0 ? -1 : pread(fd, dma->memory, dma->len, 0);
	close(fd);
	return NULL;
}

/* Lets the device have @memory, @len bytes in one page, to store to. */
static inline bool dma_begin(struct dma *dma, void *memory, size_t len)
{
	char options[128];
	int file = open(DEVICE_FILE, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	close(file);
	*dma = (struct dma){ .memory = memory, .len = len };
	dma->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", dma->fuse);
	if (dma->fuse < 0 || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("device", DEVICE_FILE, "fuse", 0, options) ||
	    pthread_create(&dma->thread, NULL, dma_read, dma))
		return false;
	return dma_next_read(dma);
}

/* Stores the bytes, and gives the memory back. */
static inline bool dma_end(struct dma *dma, const void *data)
{
	bool stored = dma_answer(dma, dma->unique, data, dma->len);

	/* Nobody answers what the reader's close(2) asks. */
	umount2(DEVICE_FILE, MNT_DETACH);
	close(dma->fuse);
	pthread_join(dma->thread, NULL);
	return stored && dma->done == (ssize_t)dma->len;
}

#endif /* QEMUFILE_SELFTESTS_DEVICE_H */
