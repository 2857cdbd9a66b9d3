/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that is mapped from a stream. Include it after harness.h. */
#ifndef QEMUFILE_SELFTESTS_RAM_H
#define QEMUFILE_SELFTESTS_RAM_H

#include <setjmp.h>

/* The first @len bytes of the stream, mapped to be written; NULL if that fails. */
static inline char *map_ram(int fd, size_t len)
{
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static sigjmp_buf fault_return;

static inline void on_fault(int number)
{
	siglongjmp(fault_return, number);
}

/* The signal that touching @byte gives, or 0. */
static inline int touch(volatile char *byte, bool write)
{
	struct sigaction action = { .sa_handler = on_fault }, bus, segv;
	int number;

	sigaction(SIGBUS, &action, &bus);
	sigaction(SIGSEGV, &action, &segv);
	number = sigsetjmp(fault_return, 1);
	if (number == 0) {
		if (write)
			*byte = 'w';
		else
			(void)*byte;
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return number;
}

/* The byte of the stream at @pos; -1 if there is none. */
static inline int char_at(int fd, off_t pos)
{
	char byte;

	return pread(fd, &byte, 1, pos) == 1 ? byte : -1;
}

#endif /* QEMUFILE_SELFTESTS_RAM_H */
