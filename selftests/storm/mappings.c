// SPDX-License-Identifier: GPL-2.0
/* Mappings of streams, and faults in them. */
#include "storm.h"

static sigjmp_buf fault;
static volatile sig_atomic_t may_fault;

void on_fault(int signal)
{
	(void)signal;
	if (!may_fault)
		_exit(99);
	siglongjmp(fault, 1);
}

int touch(void)
{
	int i = below(MAPPINGS);
	volatile int result = -1;

	if (!mappings[i].at)
		return -1;
	may_fault = 1;
	if (!sigsetjmp(fault, 1)) {
		volatile char *at = mappings[i].at + below(mappings[i].len);

		if (one_in(2))
			*at = chance();	/* SIGSEGV if it is read-only */
		else
			(void)*at;
		if (one_in(8))
			madvise(mappings[i].at, mappings[i].len, MADV_DONTNEED);
		result = 0;
	}
	may_fault = 0;
	return result;
}

void unmap(int i)
{
	if (mappings[i].at)
		munmap(mappings[i].at, mappings[i].len);
	mappings[i].at = NULL;
}

int map(void)
{
	int i = below(MAPPINGS);
	size_t len = PAGE * (1 + below(16));
	off_t offset = one_in(16) ? edge() & ~(uint64_t)(PAGE - 1) : PAGE * below(LIMIT / PAGE);
	void *at = mmap(NULL, len, one_in(2) ? PROT_READ : PROT_READ | PROT_WRITE,
			(one_in(3) ? MAP_PRIVATE : MAP_SHARED) | (one_in(8) ? MAP_POPULATE : 0),
			handle(), offset);

	if (at == MAP_FAILED)
		return -1;
	unmap(i);
	mappings[i].at = at;
	mappings[i].len = len;
	return 0;
}
