/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that faults, and files with known bytes. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_MEMORY_H
#define QEMUFILE_SELFTESTS_MEMORY_H

#include <linux/userfaultfd.h>

/* Memory that has never been touched. */
static inline void *fresh_memory(size_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* @len bytes of memory; what follows can be neither read nor written. */
static inline void *memory_before_hole(size_t len)
{
	size_t room = (len + PAGE - 1) / PAGE * PAGE;
	char *memory = fresh_memory(room + PAGE);

	if (!memory || mprotect(memory + room, PAGE, PROT_NONE))
		return NULL;
	return memory + room - len;
}

/* An address where there is nothing. */
static inline void *nowhere(void)
{
	return memory_before_hole(0);
}

/* Memory whose pages come when the test says so; -1 if the kernel has no such thing. */
static inline int slow_memory(char **memory, size_t len)
{
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return -1;
	*memory = fresh_memory(len);
	range = (struct uffdio_register){
		.range = { .start = (unsigned long)*memory, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	return *memory && !ioctl(uffd, UFFDIO_REGISTER, &range) ? uffd : -1;
}

/* Waits for a fault at @page, and brings the page: bytes of the sequence 1. */
static inline bool bring(int uffd, char *page, uint64_t pos)
{
	static char bytes[PAGE];
	struct pollfd poll_fd = { .fd = uffd, .events = POLLIN };
	struct uffdio_copy copy = {
		.dst = (unsigned long)page,
		.src = (unsigned long)fill(bytes, PAGE, pos, 1),
		.len = PAGE,
	};
	struct uffd_msg message;

	return poll(&poll_fd, 1, 5000) == 1 &&
	       read(uffd, &message, sizeof(message)) == sizeof(message) &&
	       message.event == UFFD_EVENT_PAGEFAULT && !ioctl(uffd, UFFDIO_COPY, &copy);
}

/* An open file, not linked anywhere, that has @len bytes of the sequence @seed. */
static inline int file_with(size_t len, unsigned int seed)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 && put_at(fd, 0, len, seed) != (long long)len) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Free memory of the machine, in bytes. */
static inline long long free_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long long kib = -1;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %lld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib * KiB;
}

#endif /* QEMUFILE_SELFTESTS_MEMORY_H */
