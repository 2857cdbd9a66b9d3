// SPDX-License-Identifier: GPL-2.0
/*
 * Writable shared mappings: a guest's RAM in a stream. They are coherent with
 * read(2), write(2) and each other, and a clone of a stream that is mapped and
 * in use is one consistent cut.
 */
#include <sys/sendfile.h>

#include "harness.h"
#include "ram.h"

STREAM_FIXTURE(ram)

TEST_F(ram, is_coherent_with_read_and_write)
{
	volatile char *memory;
	char byte = 0;

	ASSERT_EQ(3 * PAGE, put_at(self->fd, 0, 3 * PAGE, 1));
	memory = map_ram(self->fd, 3 * PAGE);
	ASSERT_NE(NULL, memory);
	/* A store to a page that was read, and to one that was not. */
	EXPECT_EQ((char)byte_at(5, 1), memory[5]);
	memory[5] = 'a';
	memory[PAGE] = 'b';
	ASSERT_EQ(1, pread(self->fd, &byte, 1, 5));
	EXPECT_EQ('a', byte);
	ASSERT_EQ(1, pread(self->fd, &byte, 1, PAGE));
	EXPECT_EQ('b', byte);
	/* And a write to one that is mapped for writing. */
	ASSERT_EQ(1, pwrite(self->fd, "c", 1, 6));
	EXPECT_EQ('c', memory[6]);
	EXPECT_EQ('a', memory[5]);
	memory[7] = 'd';
	ASSERT_EQ(1, pread(self->fd, &byte, 1, 7));
	EXPECT_EQ('d', byte);
	EXPECT_EQ(3 * PAGE, info_of(self->fd).length);
	EXPECT_EQ(0, munmap((void *)memory, 3 * PAGE));
	ASSERT_EQ(1, pread(self->fd, &byte, 1, PAGE));
	EXPECT_EQ('b', byte);
}

TEST_F(ram, of_two_mappings_and_two_processes_is_one)
{
	volatile char *one, *other;
	pid_t child;

	ASSERT_EQ(0, set_length(self->fd, 2 * PAGE));
	one = map_ram(self->fd, 2 * PAGE);
	other = map_ram(self->fd, 2 * PAGE);
	ASSERT_NE(NULL, one);
	ASSERT_NE(NULL, other);
	one[0] = 'a';
	EXPECT_EQ('a', other[0]);
	other[0] = 'b';
	EXPECT_EQ('b', one[0]);
	child = fork_child();
	if (child == 0) {
		bool same = one[0] == 'b';

		other[1] = 'c';
		one[PAGE] = 'd';
		_exit(!same);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ('c', one[1]);
	EXPECT_EQ('d', other[PAGE]);
}

TEST_F(ram, fills_a_hole_that_is_written)
{
	volatile char *memory;

	ASSERT_EQ(0, set_length(self->fd, 4 * MiB));
	memory = map_ram(self->fd, 4 * MiB);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, memory[MiB]);
	EXPECT_EQ(0, info_of(self->fd).allocated);
	memory[MiB] = 'a';
	memory[2 * MiB] = 'b';
	EXPECT_EQ(2 * PAGE, info_of(self->fd).allocated);
	EXPECT_EQ(MiB, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(MiB + PAGE, lseek(self->fd, MiB, SEEK_HOLE));
	/* A hole that is punched is one for the mapping, too. */
	ASSERT_EQ(0, punch(self->fd, MiB, PAGE));
	EXPECT_EQ(0, memory[MiB]);
	memory[MiB + 1] = 'c';
	EXPECT_EQ(0, memory[MiB]);
	EXPECT_EQ(2 * PAGE, info_of(self->fd).allocated);
}

TEST_F(ram, past_the_end_is_sigbus)
{
	char *memory;

	ASSERT_EQ(0, set_length(self->fd, 3 * PAGE));
	memory = map_ram(self->fd, 4 * PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, touch(memory + 2 * PAGE, true));
	EXPECT_EQ(SIGBUS, touch(memory + 3 * PAGE, true));
	ASSERT_EQ(0, set_length(self->fd, 2 * PAGE));
	EXPECT_EQ(SIGBUS, touch(memory + 2 * PAGE, true));
	EXPECT_EQ(2 * PAGE, info_of(self->fd).length);
	ASSERT_EQ(0, set_length(self->fd, 3 * PAGE));
	EXPECT_EQ(0, memory[2 * PAGE]);
	EXPECT_EQ(0, touch(memory + 2 * PAGE, true));
}

/* What is stored after the end, in the last page, is never seen in the stream. */
TEST_F(ram, after_the_end_is_lost)
{
	char *memory, bytes[PAGE];
	int clone, ends[2];

	for (int how = 0; how < 6; how++) {
		int fd = variant->open(O_RDWR);

		ASSERT_EQ(100, put_at(fd, 0, 100, 1));
		memory = map_ram(fd, PAGE);
		ASSERT_NE(NULL, memory);
		memset(memory + 100, 'x', PAGE - 100);
		clone = -1;
		switch (how) {
		case 0:
			ASSERT_EQ(0, set_length(fd, 300));
			break;
		case 1:
			ASSERT_EQ(1, pwrite(fd, "y", 1, 299));
			break;
		case 2:
			clone = open_clone(fd, O_RDWR);
			ASSERT_LE(0, clone);
			ASSERT_EQ(0, set_length(clone, 300));
			break;
		case 3:
			munmap(memory, PAGE);
			memory = NULL;
			ASSERT_EQ(0, set_length(fd, 300));
			break;
		case 4:
			/* The rest of the page that is spliced is zeros. */
			ASSERT_EQ(0, pipe(ends));
			ASSERT_EQ(100, splice(fd, &(loff_t){ 0 }, ends[1], NULL, PAGE, 0));
			close(ends[0]);
			close(ends[1]);
			ASSERT_EQ(0, set_length(fd, 300));
			break;
		case 5:
			ASSERT_EQ(0, set_length(fd, 50));
			memset(memory + 50, 'x', PAGE - 50);
			ASSERT_EQ(1, pwrite(fd, "y", 1, PAGE + 299));
			break;
		}
		ASSERT_LE(200, pread(clone < 0 ? fd : clone, bytes, how == 5 ? PAGE : 300, 0));
		for (int i = 100; i < 299; i++)
			ASSERT_EQ(0, bytes[i]) TH_LOG("how %d", how);
		EXPECT_EQ(how == 5 ? 0 : 1, right(bytes + 60, 1, 60, 1));
		if (clone >= 0)
			close(clone);
		close(fd);
	}
}

TEST_F(ram, follows_the_access_of_the_handle)
{
	int reader = open_handle(self->fd, O_RDONLY);
	int writer = open_handle(self->fd, O_WRONLY);
	char *memory;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, writer, 0));
	EXPECT_EQ(EACCES, errno);
	memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(EACCES, ERRNO_OF(mprotect(memory, PAGE, PROT_READ | PROT_WRITE)));
	EXPECT_EQ(SIGSEGV, touch(memory, true));
	/* A private one may always be written. */
	memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(0, touch(memory, true));
	EXPECT_EQ(PAGE, right_at(self->fd, 0, PAGE, 1));
}

TEST_F(ram, may_be_protected_and_unprotected)
{
	volatile char *memory;
	int clone;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ((char)byte_at(0, 1), memory[0]);
	ASSERT_EQ(0, mprotect((void *)memory, PAGE, PROT_READ | PROT_WRITE));
	memory[0] = 'a';
	ASSERT_EQ(0, mprotect((void *)memory, PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, touch((char *)memory, true));
	/* A page that was written and is read-only now is not written after a clone, either. */
	clone = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, clone);
	EXPECT_EQ('a', memory[0]);
	ASSERT_EQ(0, mprotect((void *)memory, PAGE, PROT_READ | PROT_WRITE));
	memory[0] = 'b';
	EXPECT_EQ('a', char_at(clone, 0));
	EXPECT_EQ('b', char_at(self->fd, 0));
	close(clone);
}

TEST_F(ram, can_be_moved_split_and_synced)
{
	char *memory, *moved;

	ASSERT_EQ(0, set_length(self->fd, 8 * PAGE));
	memory = map_ram(self->fd, 8 * PAGE);
	ASSERT_NE(NULL, memory);
	memset(memory, 'a', 8 * PAGE);
	EXPECT_EQ(0, msync(memory, 8 * PAGE, MS_SYNC));
	EXPECT_EQ(0, msync(memory, 8 * PAGE, MS_ASYNC));
	moved = mremap(memory, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, moved);
	moved[0] = 'b';
	EXPECT_EQ('b', char_at(self->fd, 0));
	EXPECT_EQ(SIGBUS, touch(moved + 8 * PAGE, true));
	ASSERT_EQ(0, munmap(moved + 2 * PAGE, PAGE));
	moved[3 * PAGE] = 'c';
	EXPECT_EQ('c', char_at(self->fd, 3 * PAGE));
	EXPECT_EQ('a', char_at(self->fd, 2 * PAGE));
	/* What is dropped from the mapping is still in the stream. */
	EXPECT_EQ(0, madvise(moved, 2 * PAGE, MADV_DONTNEED));
	EXPECT_EQ('b', moved[0]);
	EXPECT_EQ('a', moved[PAGE]);
	EXPECT_EQ(0, munmap(moved, 16 * PAGE));
}

TEST_F(ram, can_be_populated_and_locked)
{
	char *memory;

	ASSERT_EQ(0, set_length(self->fd, 64 * PAGE));
	memory = map_ram(self->fd, 64 * PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, madvise(memory, 32 * PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(32 * PAGE, info_of(self->fd).allocated);
	EXPECT_EQ(0, madvise(memory, 64 * PAGE, MADV_POPULATE_READ));
	EXPECT_EQ(32 * PAGE, info_of(self->fd).allocated);
	EXPECT_EQ(0, mlock(memory, 64 * PAGE));
	EXPECT_EQ(0, touch(memory + 63 * PAGE, true));
	EXPECT_EQ(0, munlock(memory, 64 * PAGE));
	/* Populating past the end is an error, and no loop. */
	ASSERT_EQ(0, set_length(self->fd, 8 * PAGE));
	EXPECT_EQ(EFAULT, ERRNO_OF(madvise(memory, 16 * PAGE, MADV_POPULATE_WRITE)));
}

TEST_F(ram, can_be_written_by_another_process_and_by_the_kernel)
{
	char *memory, byte = 0;
	int ends[2], status;
	pid_t child;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map_ram(self->fd, 2 * PAGE);
	ASSERT_NE(NULL, memory);
	child = fork_child();
	if (child == 0) {
		pause();
		_exit(0);
	}
	{
		struct iovec local = { "x", 1 }, remote = { memory + 3, 1 };

		EXPECT_EQ(1, process_vm_writev(child, &local, 1, &remote, 1, 0));
		EXPECT_EQ('x', char_at(self->fd, 3));
		/* After a clone the page is another's as well. */
		int clone = open_clone(self->fd, O_RDWR);

		local.iov_base = "y";
		EXPECT_EQ(1, process_vm_writev(child, &local, 1, &remote, 1, 0));
		EXPECT_EQ('y', char_at(self->fd, 3));
		EXPECT_EQ('y', memory[3]);
		EXPECT_EQ('x', char_at(clone, 3));
		close(clone);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(1, write(ends[1], "z", 1));
	EXPECT_EQ(1, read(ends[0], memory + 4, 1));
	EXPECT_EQ(1, pread(self->fd, &byte, 1, 4));
	EXPECT_EQ('z', byte);
}

/* read(2) and write(2) of the stream whose own mapping is the other side. */
TEST_F(ram, can_be_the_other_side_of_a_read_and_a_write)
{
	char *memory;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	ASSERT_EQ(0, set_length(self->fd, 2 * MiB));
	memory = map_ram(self->fd, 2 * MiB);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(MiB, pread(self->fd, memory + MiB, MiB, 0));
	EXPECT_EQ(MiB, right(memory + MiB, MiB, 0, 1));
	memset(memory, 0, MiB);
	EXPECT_EQ(MiB, pwrite(self->fd, memory + MiB, MiB, 0));
	EXPECT_EQ(MiB, right(memory, MiB, 0, 1));
	/* Onto itself. */
	EXPECT_EQ(MiB, pwrite(self->fd, memory, MiB, 0));
	EXPECT_EQ(MiB, pread(self->fd, memory, MiB, 0));
	EXPECT_EQ(MiB, right(memory, MiB, 0, 1));
}

TEST_F(ram, moves_the_time_of_modification)
{
	int file = open_handle(self->fd, O_RDWR);
	struct stat before, after;
	char *memory;

	ASSERT_LE(0, file);
	ASSERT_EQ(PAGE, put_at(file, 0, PAGE, 1));
	memory = map_ram(file, PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, touch(memory, false));
	ASSERT_EQ(0, fstat(file, &before));
	sleep_ms(20);
	EXPECT_EQ(0, touch(memory + 1, false));
	ASSERT_EQ(0, fstat(file, &after));
	EXPECT_EQ(0, memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)));
	EXPECT_EQ(0, touch(memory, true));
	ASSERT_EQ(0, fstat(file, &after));
	EXPECT_NE(0, memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)));
	close(file);
}

/* As F_SEAL_WRITE of a memfd. */
TEST_F(ram, and_a_seal_exclude_each_other)
{
	char *memory, *shared;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map_ram(self->fd, PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_SEALED)));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_APPEND)));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_DRAIN)));
	EXPECT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_NOSHARE));
	/* One that could be made writable counts, in each of its parts. */
	ASSERT_EQ(0, munmap(memory, PAGE));
	ASSERT_EQ(0, set_length(self->fd, 3 * PAGE));
	memory = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_EQ(0, munmap(memory + PAGE, PAGE));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_SEALED)));
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_SEALED)));
	ASSERT_EQ(0, munmap(memory + 2 * PAGE, PAGE));
	/* A private one does not. */
	memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(NULL, map_ram(self->fd, PAGE));
	EXPECT_EQ(EPERM, errno);
	shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, shared);
	EXPECT_EQ(EACCES, ERRNO_OF(mprotect(shared, PAGE, PROT_READ | PROT_WRITE)));
	EXPECT_EQ(0, touch(memory, true));
	EXPECT_EQ(PAGE, right_at(self->fd, 0, PAGE, 1));
}

/* Nobody can store any more, so those who look at it do not matter. */
TEST_F(ram, can_be_sealed_while_readers_map_it)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char *memory, *shown;

	ASSERT_EQ(0, set_length(self->fd, 2 * PAGE));
	memory = map_ram(self->fd, 2 * PAGE);
	ASSERT_NE(NULL, memory);
	memset(memory, 'a', 2 * PAGE);
	shown = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, reader, 0);
	ASSERT_NE(MAP_FAILED, shown);
	EXPECT_EQ('a', shown[0]);
	ASSERT_EQ(0, munmap(memory, 2 * PAGE));
	EXPECT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED)) TH_LOG("%m");
	EXPECT_EQ('a', shown[0]);
	EXPECT_EQ('a', shown[PAGE]);
	close(reader);
}

TEST_F(ram, counts_the_mappings_of_a_child)
{
	pid_t child;
	int status;
	char *memory;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map_ram(self->fd, PAGE);
	ASSERT_NE(NULL, memory);
	child = fork_child();
	if (child == 0) {
		pause();
		_exit(0);
	}
	ASSERT_EQ(0, munmap(memory, PAGE));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_SEALED)));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	EXPECT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
}

TEST_F(ram, of_append_only_and_drained_streams_is_eacces)
{
	const uint32_t flags[] = { QEMUFILE_STREAM_APPEND, QEMUFILE_STREAM_DRAIN };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		int fd = variant->open(O_RDWR);
		char *memory;

		ASSERT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
		ASSERT_EQ(0, set_flags(fd, flags[i]));
		EXPECT_EQ(NULL, map_ram(fd, PAGE));
		EXPECT_EQ(EACCES, errno);
		memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, memory);
		EXPECT_EQ(EACCES, ERRNO_OF(mprotect(memory, PAGE, PROT_READ | PROT_WRITE)));
		munmap(memory, PAGE);
		close(fd);
	}
}

/* A reader of the stream waits for writers, and a mapping is none. */
TEST_F(ram, is_no_writer)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char *memory, byte;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map_ram(self->fd, PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(1, info_of(reader).writers);
	close(self->fd);
	self->fd = reader;
	EXPECT_EQ(0, pread(reader, &byte, 1, PAGE));
	/* It outlives the handle that it was made by. */
	memory[0] = 'a';
	EXPECT_EQ('a', char_at(reader, 0));
}

TEST_F(ram, cloned_is_independent)
{
	volatile char *memory, *other;
	int clone, again;

	ASSERT_EQ(NODE + 3 * PAGE, put_at(self->fd, 0, NODE + 3 * PAGE, 1));
	memory = map_ram(self->fd, NODE + 3 * PAGE);
	ASSERT_NE(NULL, memory);
	memory[0] = 'a';
	memory[NODE] = 'a';
	clone = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, clone);
	memory[0] = 'b';
	memory[PAGE] = 'b';
	EXPECT_EQ('a', char_at(clone, 0));
	EXPECT_EQ('a', char_at(clone, NODE));
	EXPECT_EQ((char)byte_at(PAGE, 1), char_at(clone, PAGE));
	other = map_ram(clone, NODE + 3 * PAGE);
	ASSERT_NE(NULL, other);
	other[0] = 'c';
	other[NODE + PAGE] = 'c';
	EXPECT_EQ('b', memory[0]);
	EXPECT_EQ((char)byte_at(NODE + PAGE, 1), memory[NODE + PAGE]);
	again = open_clone(clone, O_RDWR);
	ASSERT_LE(0, again);
	other[0] = 'd';
	memory[0] = 'e';
	EXPECT_EQ('c', char_at(again, 0));
	EXPECT_EQ('d', char_at(clone, 0));
	EXPECT_EQ('e', char_at(self->fd, 0));
	EXPECT_EQ(PAGE, right_at(again, NODE + 2 * PAGE, PAGE, 1));
	close(again);
	close(clone);
}

/* ---- what the kernel says of the memory ---- */

static bool is_soft_dirty(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	bool told = pread(fd, &entry, 8, (uintptr_t)page / PAGE * 8) == 8;

	close(fd);
	return told && entry >> 55 & 1;
}

static bool clear_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	bool cleared = write(fd, "4", 1) == 1;

	close(fd);
	return cleared;
}

/* Who saves a process page by page, as CRIU does, finds each page that was stored to. */
TEST_F(ram, tells_which_pages_were_stored_to)
{
	char *own = fresh_memory(PAGE), *memory;

	ASSERT_EQ(0, set_length(self->fd, 3 * PAGE));
	memory = map_ram(self->fd, 3 * PAGE);
	ASSERT_NE(NULL, memory);
	memset(memory, 'a', 2 * PAGE);
	own[0] = 'a';
	EXPECT_EQ(0, touch(memory + 2 * PAGE, false));
	ASSERT_TRUE(clear_soft_dirty());
	if (is_soft_dirty(own))
		SKIP(return, "no CONFIG_MEM_SOFT_DIRTY");
	own[0] = 'b';
	if (!is_soft_dirty(own))
		SKIP(return, "no CONFIG_MEM_SOFT_DIRTY");
	EXPECT_FALSE(is_soft_dirty(memory));
	memory[0] = 'b';
	memory[2 * PAGE] = 'b';
	EXPECT_TRUE(is_soft_dirty(memory));
	EXPECT_FALSE(is_soft_dirty(memory + PAGE));
	EXPECT_TRUE(is_soft_dirty(memory + 2 * PAGE));
	EXPECT_EQ('b', char_at(self->fd, 0));
}

/* The number of the page frame behind an address. */
static uint64_t frame_of(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	pread(fd, &entry, 8, (uintptr_t)page / PAGE * 8);
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* With the clone gone, a page that nobody shares is written where it is. */
TEST_F(ram, stays_where_it_is_when_the_clone_is_gone)
{
	uint64_t frame;
	char *memory;

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map_ram(self->fd, PAGE);
	ASSERT_NE(NULL, memory);
	for (int reads = 0; reads < 2; reads++) {
		ASSERT_EQ(0, touch(memory, true));
		frame = frame_of(memory);
		if (!frame)
			SKIP(return, "page frames are hidden");
		close(open_clone(self->fd, O_RDWR));
		if (reads)
			ASSERT_EQ(0, touch(memory, false));
		ASSERT_EQ(0, touch(memory, true));
		EXPECT_EQ(frame, frame_of(memory)) TH_LOG("reads: %d", reads);
	}
}

TEST_F(ram, takes_no_memory_for_a_clone_that_is_gone)
{
	long long before, after;
	char *memory;

	ASSERT_EQ(0, set_length(self->fd, 16 * MiB));
	memory = map_ram(self->fd, 16 * MiB);
	ASSERT_NE(NULL, memory);
	memset(memory, 'a', 16 * MiB);
	close(open_clone(self->fd, O_RDWR));
	before = free_memory();
	for (long long i = 0; i < 16 * MiB; i += PAGE) {
		EXPECT_EQ('a', memory[i]);
		memory[i] = 'b';
	}
	after = free_memory();
	EXPECT_GT(8 * MiB, before - after);
	EXPECT_EQ(16 * MiB, info_of(self->fd).allocated);
}

TEST_F(ram, lent_to_a_pipe_does_not_change)
{
	char *memory, bytes[2 * PAGE];
	int ends[2];

	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	memory = map_ram(self->fd, 2 * PAGE);
	ASSERT_NE(NULL, memory);
	memory[0] = 'a';
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(2 * PAGE, splice(self->fd, &(loff_t){ 0 }, ends[1], NULL, 2 * PAGE, 0));
	memory[0] = 'b';
	memory[PAGE] = 'b';
	ASSERT_EQ(2 * PAGE, read(ends[0], bytes, 2 * PAGE));
	EXPECT_EQ('a', bytes[0]);
	EXPECT_EQ(2 * PAGE - 1, right(bytes + 1, 2 * PAGE - 1, 1, 1));
	EXPECT_EQ('b', char_at(self->fd, 0));
	EXPECT_EQ('b', char_at(self->fd, PAGE));
}

TEST_F(ram, shows_what_replaces_its_pages)
{
	struct iovec vec = { .iov_len = 4 * PAGE };
	char *memory, *bytes = fresh_memory(4 * PAGE);
	int other = open_file(O_RDWR), file = open_handle(self->fd, O_RDWR), ends[2];

	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	memory = map_ram(self->fd, 4 * PAGE);
	ASSERT_NE(NULL, memory);
	memset(memory, 'a', 4 * PAGE);
	/* RWF_ATOMIC replaces the pages, and keeps what is beside the bytes. */
	memset(bytes, 'b', 4 * PAGE);
	vec.iov_base = bytes;
	vec.iov_len = 2 * PAGE;
	ASSERT_EQ(2 * PAGE, pwritev2(self->fd, &vec, 1, 100, RWF_ATOMIC));
	EXPECT_EQ('a', memory[99]);
	EXPECT_EQ('b', memory[100]);
	EXPECT_EQ('b', memory[2 * PAGE + 99]);
	EXPECT_EQ('a', memory[2 * PAGE + 100]);
	memory[99] = 'c';
	EXPECT_EQ('c', char_at(self->fd, 99));
	/* So does FICLONERANGE. */
	ASSERT_EQ(PAGE, put_at(other, 0, PAGE, 2));
	ASSERT_EQ(0, clone_range(file, other, 0, PAGE, PAGE));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, 0, 2));
	memory[PAGE] = 'd';
	EXPECT_EQ(PAGE, right_at(other, 0, PAGE, 2));
	EXPECT_EQ('d', char_at(self->fd, PAGE));
	/* And a page from a pipe. */
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(PAGE, write(ends[1], bytes, PAGE));
	ASSERT_EQ(PAGE, splice(ends[0], NULL, self->fd, &(loff_t){ 2 * PAGE }, PAGE, 0));
	EXPECT_EQ('b', memory[2 * PAGE]);
	memory[2 * PAGE] = 'e';
	EXPECT_EQ('e', char_at(self->fd, 2 * PAGE));
}

TEST_HARNESS_MAIN
