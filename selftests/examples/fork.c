// SPDX-License-Identifier: GPL-2.0
#include <sys/mman.h>

#include "check.h"

/* A program keeps its heap in a stream, and forks it while it goes on. */

#define SIZE (64 << 20)

static char *map(int stream)
{
	char *heap = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, stream, 0);

	check(heap != MAP_FAILED);
	return heap;
}

int main(void)
{
	struct qemufile_open how = { .mode = QEMUFILE_MODE_READ | QEMUFILE_MODE_WRITE };
	struct qemufile_length length = { .length = SIZE };
	int stream = open("/dev/qemufile", O_RDWR | O_CLOEXEC), forks[8];
	char *heap, *other;

	check(stream >= 0);
	check(ioctl(stream, QEMUFILE_IOC_SET_LENGTH, &length) == 0);
	heap = map(stream);
	memset(heap, 'a', SIZE);

	/* No byte is copied, and the mapping stays what it is. */
	for (int i = 0; i < 8; i++) {
		forks[i] = ioctl(stream, QEMUFILE_IOC_CLONE, &how);
		check(forks[i] >= 0);
		heap[i] = 'b';
	}
	/* Each fork has what was there at its moment, and may be written in turn. */
	for (int i = 0; i < 8; i++) {
		other = map(forks[i]);
		for (int j = 0; j < 8; j++)
			check(other[j] == (j < i ? 'b' : 'a'));
		other[SIZE - 1] = 'c';
		check(heap[SIZE - 1] == 'a');
		check(munmap(other, SIZE) == 0);
	}
	return 0;
}
