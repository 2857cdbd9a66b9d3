// SPDX-License-Identifier: GPL-2.0
/*
 * mmap(2): private mappings, and shared ones for reading, of any part of a
 * stream. Shared ones for writing are the subject of ram_test.c.
 */
#include <elf.h>
#include <linux/fs.h>
#include <stddef.h>
#include <sys/sendfile.h>

#include "harness.h"
#include "ram.h"

STREAM_FIXTURE(mmap)

static char *map(int fd, size_t len, int prot, int flags, off_t pos)
{
	char *memory = mmap(NULL, len, prot, flags, fd, pos);

	return memory == MAP_FAILED ? NULL : memory;
}

TEST_F(mmap, shows_the_streams_bytes)
{
	const int flags[] = { MAP_SHARED, MAP_PRIVATE };

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		char *all = map(self->fd, MiB, PROT_READ, flags[i], 0);
		char *part = map(self->fd, PAGE, PROT_READ, flags[i], NODE - PAGE);

		ASSERT_NE(NULL, all);
		ASSERT_NE(NULL, part);
		EXPECT_EQ(PAGE, right(part, PAGE, NODE - PAGE, 1));
		EXPECT_EQ(MiB, right(all, MiB, 0, 1));
		EXPECT_EQ(0, munmap(all, MiB));
		EXPECT_EQ(0, munmap(part, PAGE));
	}
}

TEST_F(mmap, of_a_hole_is_zeros_and_takes_no_memory)
{
	struct qemufile_info before, after;
	char *memory;

	ASSERT_EQ(1, put_at(self->fd, 3 * MiB, 1, 1));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &before));
	memory = map(self->fd, 4 * MiB, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(3 * MiB, right(memory, 3 * MiB, 0, ZEROS));
	EXPECT_EQ(1, right(memory + 3 * MiB, 1, 3 * MiB, 1));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &after));
	EXPECT_EQ(before.allocated, after.allocated);
}

TEST_F(mmap, past_the_end_is_sigbus)
{
	char *memory;

	ASSERT_EQ(2 * PAGE + 5, put_at(self->fd, 0, 2 * PAGE + 5, 1));
	memory = map(self->fd, 10 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, touch(memory + 2 * PAGE, false));
	/* The rest of the last page is zeros. */
	EXPECT_EQ(0, touch(memory + 3 * PAGE - 1, false));
	EXPECT_EQ(PAGE - 5, right(memory + 2 * PAGE + 5, PAGE - 5, 0, ZEROS));
	EXPECT_EQ(SIGBUS, touch(memory + 3 * PAGE, false));
	EXPECT_EQ(SIGBUS, touch(memory + 9 * PAGE, false));
	/* Until the stream gets there. */
	ASSERT_EQ(1, put_at(self->fd, 5 * PAGE, 1, 1));
	EXPECT_EQ(0, touch(memory + 3 * PAGE, false));
	EXPECT_EQ(1, right(memory + 5 * PAGE, 1, 5 * PAGE, 1));
	EXPECT_EQ(SIGBUS, touch(memory + 6 * PAGE, false));
}

TEST_F(mmap, of_code_is_eperm)
{
	const int flags[] = { MAP_SHARED, MAP_PRIVATE };

	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		char *memory;

		EXPECT_EQ(NULL, map(self->fd, PAGE, PROT_READ | PROT_EXEC, flags[i], 0));
		EXPECT_EQ(EPERM, errno);
		memory = map(self->fd, PAGE, PROT_READ, flags[i], 0);
		ASSERT_NE(NULL, memory);
		EXPECT_EQ(EACCES, ERRNO_OF(mprotect(memory, PAGE, PROT_READ | PROT_EXEC)));
		munmap(memory, PAGE);
	}
}

TEST_F(mmap, private_writes_stay_private)
{
	char *memory, *other;

	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	memory = map(self->fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	other = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_NE(NULL, other);
	fill(memory + PAGE, PAGE, PAGE, 2);
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 2));
	EXPECT_EQ(4 * PAGE, right_at(self->fd, 0, 4 * PAGE, 1));
	EXPECT_EQ(4 * PAGE, right(other, 4 * PAGE, 0, 1));
	/* A page that was written to first, one that was read first, and one in a hole. */
	ASSERT_EQ(1, put_at(self->fd, 20 * PAGE, 1, 1));
	memory = map(self->fd, 20 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, touch(memory + 10 * PAGE, true));
	EXPECT_EQ(0, touch(memory + 11 * PAGE, false));
	EXPECT_EQ(0, touch(memory + 11 * PAGE, true));
	EXPECT_EQ(PAGE, right_at(self->fd, 10 * PAGE, PAGE, ZEROS));
	EXPECT_EQ(PAGE, right_at(self->fd, 11 * PAGE, PAGE, ZEROS));
}

/* How many pages a mapping shows without a fault. */
static int mapped_pages(char *memory, size_t pages)
{
	unsigned char present[256] = {};
	int count = 0;

	if (pages > sizeof(present) || mincore(memory, pages * PAGE, present))
		return -1;
	for (size_t i = 0; i < pages; i++)
		count += present[i] & 1;
	return count;
}

/* 64 KiB of the file, as far as there are pages, and as far as the mapping goes. */
TEST_F(mmap, a_page_that_is_read_brings_its_neighbours)
{
	char *memory, *part, *writable;

	ASSERT_EQ(40 * PAGE, put_at(self->fd, 0, 40 * PAGE, 1));
	ASSERT_EQ(0, punch(self->fd, 20 * PAGE, 2 * PAGE));
	memory = map(self->fd, 64 * PAGE, PROT_READ, MAP_SHARED, 0);
	part = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 6 * PAGE);
	writable = map(self->fd, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_NE(NULL, part);
	ASSERT_NE(NULL, writable);
	EXPECT_EQ(0, mapped_pages(memory, 64));
	EXPECT_EQ(1, right(memory + 25 * PAGE, 1, 25 * PAGE, 1));
	EXPECT_EQ(14, mapped_pages(memory, 64));
	EXPECT_EQ(0, mapped_pages(memory, 16));
	EXPECT_EQ(16 * PAGE, right(memory + 16 * PAGE, 4 * PAGE, 16 * PAGE, 1) +
			     right(memory + 22 * PAGE, 12 * PAGE, 22 * PAGE, 1));
	/* The end of the stream is in this one. */
	EXPECT_EQ(1, right(memory + 39 * PAGE, 1, 39 * PAGE, 1));
	EXPECT_EQ(14 + 8, mapped_pages(memory, 64));
	EXPECT_EQ(SIGBUS, touch(memory + 40 * PAGE, false));
	EXPECT_EQ(1, right(part, 1, 6 * PAGE, 1));
	EXPECT_EQ(4, mapped_pages(part, 4));
	/* A store brings its page alone, and what was mapped beside it is still tracked. */
	EXPECT_EQ(0, touch(writable + 3 * PAGE, true));
	EXPECT_EQ(1, mapped_pages(writable, 64));
	EXPECT_EQ(1, right(writable + 5 * PAGE, 1, 5 * PAGE, 1));
	EXPECT_EQ(16, mapped_pages(writable, 64));
	if (open_clone(self->fd, O_RDONLY) >= 0) {
		EXPECT_EQ(0, mapped_pages(writable, 64));
	}
	/* What goes, goes from all of them. */
	EXPECT_EQ(1, right(writable + 5 * PAGE, 1, 5 * PAGE, 1));
	EXPECT_EQ(0, set_length(self->fd, 2 * PAGE));
	EXPECT_EQ(2, mapped_pages(writable, 64));
	EXPECT_EQ(SIGBUS, touch(memory + 5 * PAGE, false));
}

TEST_F(mmap, asks_for_the_access)
{
	int reader = open_handle(self->fd, O_RDONLY), writer = open_handle(self->fd, O_WRONLY);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	EXPECT_NE(NULL, map(reader, PAGE, PROT_READ, MAP_SHARED, 0));
	EXPECT_NE(NULL, map(reader, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0));
	EXPECT_EQ(NULL, map(writer, PAGE, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(NULL, map(writer, PAGE, PROT_WRITE, MAP_SHARED, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(NULL, map(writer, PAGE, PROT_READ, MAP_PRIVATE, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(NULL, map(self->fd, PAGE, PROT_READ, MAP_SHARED, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map(self->fd, 0, PROT_READ, MAP_SHARED, 0));
	EXPECT_EQ(EINVAL, errno);
	close(reader);
	close(writer);
}

/* ---- it follows the stream ---- */

TEST_F(mmap, shows_later_writes)
{
	char *memory;

	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	memory = map(self->fd, NODE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(NODE, right(memory, NODE, 0, 1));
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 2));
	EXPECT_EQ(NODE, right(memory, NODE, 0, 2));
	ASSERT_EQ(100, put_at(self->fd, PAGE + 5, 100, 3));
	EXPECT_EQ(100, right(memory + PAGE + 5, 100, PAGE + 5, 3));
}

TEST_F(mmap, shows_writes_that_replace_a_page)
{
	int pipe_fds[2], copy, file = file_with(PAGE, 5);
	off_t from = 0;
	struct iovec iov = { .iov_base = fresh_memory(PAGE), .iov_len = PAGE };
	char *memory;
	loff_t pos = 0;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	memory = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(4 * PAGE, right(memory, 4 * PAGE, 0, 1));
	/* The page is lent, so that a write copies it. */
	ASSERT_EQ(PAGE, splice(self->fd, &pos, pipe_fds[1], NULL, PAGE, 0));
	ASSERT_EQ(10, put_at(self->fd, 7, 10, 2));
	EXPECT_EQ(7, right(memory, 7, 0, 1));
	EXPECT_EQ(10, right(memory + 7, 10, 7, 2));
	EXPECT_EQ(PAGE - 17, right(memory + 17, PAGE - 17, 17, 1));
	/* It is shared with a clone. */
	copy = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, copy);
	ASSERT_EQ(PAGE, put_at(self->fd, PAGE, PAGE, 3));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 3));
	/* Another comes in its place. */
	ASSERT_EQ(2 * PAGE, lseek(self->fd, 2 * PAGE, SEEK_SET));
	ASSERT_EQ(PAGE, sendfile(self->fd, file, &from, PAGE));
	EXPECT_EQ(PAGE, right(memory + 2 * PAGE, PAGE, 0, 5));
	/* All of a write, or nothing. */
	fill(iov.iov_base, PAGE, 3 * PAGE, 6);
	ASSERT_EQ(PAGE, pwritev2(self->fd, &iov, 1, 3 * PAGE, RWF_ATOMIC));
	EXPECT_EQ(PAGE, right(memory + 3 * PAGE, PAGE, 3 * PAGE, 6));
	/* None of it is the clone's. */
	EXPECT_EQ(PAGE, right_at(copy, PAGE, PAGE, 1));
	close(copy);
	close(file);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* A write that is undone must not be seen either, nor leave the pages of its attempt. */
TEST_F(mmap, shows_no_write_that_was_undone)
{
	char *memory, *later;
	struct iovec iov[2] = {
		{ .iov_base = fresh_memory(2 * PAGE), .iov_len = 2 * PAGE },
		{ .iov_base = nowhere(), .iov_len = 1 },
	};

	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	memory = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(4 * PAGE, right(memory, 4 * PAGE, 0, 1));
	EXPECT_EQ(EFAULT, ERRNO_OF(pwritev2(self->fd, iov, 2, 100, RWF_ATOMIC)));
	EXPECT_EQ(4 * PAGE, right(memory, 4 * PAGE, 0, 1));
	later = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, later);
	EXPECT_EQ(4 * PAGE, right(later, 4 * PAGE, 0, 1));
	/* The two are of the same page. */
	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 2));
	EXPECT_EQ(4 * PAGE, right(memory, 4 * PAGE, 0, 2));
	EXPECT_EQ(4 * PAGE, right(later, 4 * PAGE, 0, 2));
}

TEST_F(mmap, shows_no_memory_that_was_not_reserved_after_all)
{
	struct qemufile_info info = {};
	int file = open_handle(self->fd, O_RDWR);
	volatile char *memory;
	pid_t child;

	/* A reservation that is killed, after a page of it was seen. */
	for (int tries = 0; tries < 20; tries++) {
		ASSERT_EQ(0, set_length(self->fd, 0));
		ASSERT_EQ(0, set_length(self->fd, GiB));
		memory = map(self->fd, PAGE, PROT_READ, MAP_SHARED, 0);
		ASSERT_NE(NULL, memory);
		child = fork_child();
		if (child == 0) {
			fallocate(file, 0, 0, GiB);
			_exit(0);
		}
		do {
			ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
		} while (info.allocated == 0);
		EXPECT_EQ(0, *memory);
		kill(child, SIGKILL);
		if (status_of(child) == 128 + SIGKILL)
			break;
	}
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
	ASSERT_EQ(0, info.allocated);
	ASSERT_EQ(1, put_at(self->fd, 0, 1, 1));
	EXPECT_EQ((char)byte_at(0, 1), *memory);
	close(file);
}

TEST_F(mmap, shows_a_write_into_a_hole_that_was_seen)
{
	char *memory;

	ASSERT_EQ(1, put_at(self->fd, NODE, 1, 1));
	memory = map(self->fd, NODE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(NODE, right(memory, NODE, 0, ZEROS));
	ASSERT_EQ(100, put_at(self->fd, 5 * PAGE + 3, 100, 1));
	EXPECT_EQ(100, right(memory + 5 * PAGE + 3, 100, 5 * PAGE + 3, 1));
	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 2));
	EXPECT_EQ(NODE, right(memory, NODE, 0, 2));
}

TEST_F(mmap, shows_no_more_of_what_was_cut_off)
{
	char *memory;

	ASSERT_EQ(8 * PAGE, put_at(self->fd, 0, 8 * PAGE, 1));
	memory = map(self->fd, 8 * PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(8 * PAGE, right(memory, 8 * PAGE, 0, 1));
	ASSERT_EQ(0, set_length(self->fd, 3 * PAGE + 100));
	EXPECT_EQ(3 * PAGE + 100, right(memory, 3 * PAGE + 100, 0, 1));
	EXPECT_EQ(PAGE - 100, right(memory + 3 * PAGE + 100, PAGE - 100, 0, ZEROS));
	EXPECT_EQ(SIGBUS, touch(memory + 4 * PAGE, false));
	EXPECT_EQ(SIGBUS, touch(memory + 7 * PAGE, false));
	ASSERT_EQ(0, set_length(self->fd, 8 * PAGE));
	EXPECT_EQ(5 * PAGE - 100, right(memory + 3 * PAGE + 100, 5 * PAGE - 100, 0, ZEROS));
}

/* As for any file, private copies of what is cut off are gone as well. */
TEST_F(mmap, private_copies_end_with_the_stream)
{
	char *memory;

	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	memory = map(self->fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	fill(memory, 4 * PAGE, 0, 2);
	ASSERT_EQ(0, set_length(self->fd, 2 * PAGE));
	EXPECT_EQ(2 * PAGE, right(memory, 2 * PAGE, 0, 2));
	EXPECT_EQ(SIGBUS, touch(memory + 2 * PAGE, false));
	EXPECT_EQ(SIGBUS, touch(memory + 3 * PAGE, true));
}

TEST_F(mmap, shows_no_more_of_what_was_punched)
{
	struct qemufile_range range = { .start = PAGE - 10, .length = 2 * PAGE };
	char *memory, *copy;

	ASSERT_EQ(8 * PAGE, put_at(self->fd, 0, 8 * PAGE, 1));
	memory = map(self->fd, 8 * PAGE, PROT_READ, MAP_SHARED, 0);
	copy = map(self->fd, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_NE(NULL, copy);
	EXPECT_EQ(8 * PAGE, right(memory, 8 * PAGE, 0, 1));
	EXPECT_EQ(0, touch(copy + PAGE, true));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_PUNCH, &range));
	EXPECT_EQ(PAGE - 10, right(memory, PAGE - 10, 0, 1));
	EXPECT_EQ(2 * PAGE, right(memory + PAGE - 10, 2 * PAGE, 0, ZEROS));
	EXPECT_EQ(PAGE, right(memory + 3 * PAGE, PAGE, 3 * PAGE, 1));
	/* What was written to in private is kept: the stream has not become shorter. */
	EXPECT_EQ('w', copy[PAGE]);
}

TEST_F(mmap, shows_no_more_of_what_was_drained)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	int reader = open_handle(self->fd, O_RDONLY);
	static char bytes[CHUNK];
	char *memory;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(2 * CHUNK, put_at(self->fd, 0, 2 * CHUNK, 1));
	memory = map(self->fd, 2 * CHUNK, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(2 * CHUNK, right(memory, 2 * CHUNK, 0, 1));
	/* A page alone, too. */
	ASSERT_EQ(PAGE, read(reader, bytes, PAGE));
	EXPECT_EQ(SIGBUS, touch(memory, false));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 1));
	ASSERT_EQ(CHUNK - PAGE, read(reader, bytes, CHUNK - PAGE));
	EXPECT_EQ(SIGBUS, touch(memory + CHUNK - 1, false));
	EXPECT_EQ(CHUNK, right(memory + CHUNK, CHUNK, CHUNK, 1));
	close(reader);
}

/* ---- it has a life of its own ---- */

TEST_F(mmap, survives_the_close_of_its_descriptor)
{
	char *memory;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	memory = map(self->fd, MiB, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
	ASSERT_EQ(0, close(self->fd));
	/* Also where it was not touched before. */
	EXPECT_EQ(MiB, right(memory, MiB, 0, 1));
	EXPECT_EQ(0, munmap(memory, MiB));
}

/* A mapping is nobody who could write: the end is the end. */
TEST_F(mmap, is_no_writer)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char *memory, byte;

	ASSERT_LE(0, reader);
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	memory = map(self->fd, PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, pread(reader, &byte, 1, PAGE));
	EXPECT_EQ(POLL_READ | POLLHUP | POLLRDHUP,
		  lseek(reader, PAGE, SEEK_SET) == PAGE ? polled(reader, POLL_ALL) : -1);
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
	close(reader);
}

TEST_F(mmap, is_inherited_by_a_child)
{
	char *memory, *copy;
	pid_t child;

	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	memory = map(self->fd, CHUNK, PROT_READ, MAP_SHARED, 0);
	copy = map(self->fd, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_NE(NULL, copy);
	fill(copy, PAGE, 0, 3);
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 1));
		EXPECT_EQ(PAGE, right(copy, PAGE, 0, 3));
		EXPECT_EQ(PAGE, put_at(self->fd, PAGE, PAGE, 2));
		EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 2));
		fill(copy, PAGE, 0, 4);
		_exit(0);
	}
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 2));
	EXPECT_EQ(PAGE, right(copy, PAGE, 0, 3));
}

TEST_F(mmap, can_be_moved_resized_and_split)
{
	char *memory, *moved;

	ASSERT_EQ(16 * PAGE, put_at(self->fd, 0, 16 * PAGE, 1));
	memory = map(self->fd, 4 * PAGE, PROT_READ, MAP_SHARED, 2 * PAGE);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(4 * PAGE, right(memory, 4 * PAGE, 2 * PAGE, 1));
	moved = mremap(memory, 4 * PAGE, 20 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(14 * PAGE, right(moved, 14 * PAGE, 2 * PAGE, 1));
	EXPECT_EQ(SIGBUS, touch(moved + 14 * PAGE, false));
	/* A hole in the middle. */
	ASSERT_EQ(0, munmap(moved + 3 * PAGE, PAGE));
	EXPECT_EQ(SIGSEGV, touch(moved + 3 * PAGE, false));
	EXPECT_EQ(3 * PAGE, right(moved, 3 * PAGE, 2 * PAGE, 1));
	EXPECT_EQ(10 * PAGE, right(moved + 4 * PAGE, 10 * PAGE, 6 * PAGE, 1));
	ASSERT_EQ(16 * PAGE, put_at(self->fd, 0, 16 * PAGE, 2));
	EXPECT_EQ(3 * PAGE, right(moved, 3 * PAGE, 2 * PAGE, 2));
	EXPECT_EQ(10 * PAGE, right(moved + 4 * PAGE, 10 * PAGE, 6 * PAGE, 2));
	EXPECT_EQ(0, munmap(moved, 20 * PAGE));
}

TEST_F(mmap, madvise_changes_no_byte)
{
	const int advice[] = {
		MADV_DONTNEED, MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL,
	};
	char *memory, *copy;

	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	memory = map(self->fd, CHUNK, PROT_READ, MAP_SHARED, 0);
	copy = map(self->fd, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	for (size_t i = 0; i < ARRAY_LEN(advice); i++) {
		EXPECT_EQ(0, madvise(memory, CHUNK, advice[i])) TH_LOG("%d: %m", advice[i]);
		EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 1));
	}
	/* A private copy is thrown away. */
	fill(copy, CHUNK, 0, 2);
	EXPECT_EQ(0, madvise(copy, CHUNK, MADV_DONTNEED));
	EXPECT_EQ(CHUNK, right(copy, CHUNK, 0, 1));
}

TEST_F(mmap, can_be_populated_and_locked)
{
	char *memory;

	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	memory = map(self->fd, CHUNK, PROT_READ, MAP_SHARED | MAP_POPULATE, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(0, mlock(memory, CHUNK));
	EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 1));
	EXPECT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 2));
	EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 2));
	EXPECT_EQ(0, msync(memory, CHUNK, MS_SYNC));
	EXPECT_EQ(0, munlock(memory, CHUNK));
}

/* Two streams opened through one node, at one offset: they are not mixed up. */
TEST_F(mmap, of_two_streams_show_two_streams)
{
	int other = variant->open(O_RDWR);
	char *memory, *other_memory;

	ASSERT_LE(0, other);
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK, put_at(other, 0, CHUNK, 2));
	memory = map(self->fd, CHUNK, PROT_READ, MAP_SHARED, 0);
	other_memory = map(other, CHUNK, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	ASSERT_NE(NULL, other_memory);
	EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 1));
	EXPECT_EQ(CHUNK, right(other_memory, CHUNK, 0, 2));
	ASSERT_EQ(0, set_length(other, 0));
	EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 1));
	EXPECT_EQ(SIGBUS, touch(other_memory, false));
	close(other);
}

/* ---- as the memory of reads and writes on the stream itself ---- */

TEST_F(mmap, can_be_the_source_of_a_write_to_the_stream)
{
	char *memory;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	memory = map(self->fd, 4 * MiB, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	/* Never touched, so that every page faults during the write. */
	EXPECT_EQ(MiB, pwrite(self->fd, memory, MiB, 2 * MiB + 5));
	EXPECT_EQ(MiB, right(memory, MiB, 0, 1));
	EXPECT_EQ(5, right(memory + 2 * MiB, 5, 0, ZEROS));
	for (long long at = 0; at < MiB; at += PAGE) {
		ASSERT_EQ(0, memcmp(memory + at, memory + 2 * MiB + 5 + at, PAGE));
	}
	/* The end comes nearer as it is written to: the source grows. */
	EXPECT_LT(0, pwrite(self->fd, memory + 3 * MiB, PAGE, 3 * MiB + 5));
}

TEST_F(mmap, can_be_written_over_itself)
{
	char *memory;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	memory = map(self->fd, MiB, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, memory);
	/* To the same place: nothing changes. */
	EXPECT_EQ(MiB, pwrite(self->fd, memory, MiB, 0));
	EXPECT_EQ(MiB, right_at(self->fd, 0, MiB, 1));
	EXPECT_EQ(MiB, right(memory, MiB, 0, 1));
	/* A page further on, with pages shared, and all or nothing. */
	for (int i = 0; i < 3; i++) {
		struct iovec iov = { .iov_base = memory, .iov_len = 10 * PAGE };
		int copy = open_clone(self->fd, O_RDONLY);

		ASSERT_LE(0, copy);
		ASSERT_EQ(0, madvise(memory, MiB, MADV_DONTNEED));
		EXPECT_EQ(10 * PAGE, pwritev2(self->fd, &iov, 1, 20 * PAGE, i ? RWF_ATOMIC : 0));
		EXPECT_EQ(0, memcmp(memory, memory + 20 * PAGE, 10 * PAGE));
		close(copy);
	}
}

TEST_F(mmap, private_can_be_the_target_of_a_read_of_the_stream)
{
	char *memory;

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	memory = map(self->fd, MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(MiB - PAGE, pread(self->fd, memory + 5, MiB - PAGE, PAGE));
	EXPECT_EQ(5, right(memory, 5, 0, 1));
	EXPECT_EQ(MiB - PAGE, right(memory + 5, MiB - PAGE, PAGE, 1));
	EXPECT_EQ(MiB, right_at(self->fd, 0, MiB, 1));
	/* A shared one cannot be written to. */
	memory = map(self->fd, MiB, PROT_READ, MAP_SHARED, 0);
	EXPECT_EQ(EFAULT, ERRNO_OF(pread(self->fd, memory, PAGE, 0)));
}

struct mapper {
	struct __test_metadata *_metadata;
	int fd;
	int who;
	atomic_int *over;
	long long rounds;
};

enum { AREA = 1 << 20 };

/* Reads through a mapping: what is there is of the sequence 1, or a hole. */
static void *look(void *arg)
{
	struct mapper *mapper = arg;
	struct __test_metadata *_metadata = mapper->_metadata;
	unsigned int seed = mapper->who + 1;
	static _Thread_local char bytes[PAGE];

	pin_to(mapper->who);
	while (!*mapper->over) {
		char *memory = map(mapper->fd, AREA, PROT_READ, MAP_SHARED, 0);

		ASSERT_NE(NULL, memory);
		for (int i = 0; i < 50; i++) {
			long long pos = draw(&seed, AREA / PAGE) * PAGE;
			struct iovec iov = { .iov_base = bytes, .iov_len = PAGE };
			struct iovec remote = { .iov_base = memory + pos, .iov_len = PAGE };

			/* No signal, but EFAULT, past the end. */
			if (process_vm_readv(getpid(), &iov, 1, &remote, 1, 0) != PAGE)
				continue;
			for (int j = 0; j < PAGE; j += 17) {
				ASSERT_TRUE(bytes[j] == 0 ||
					    bytes[j] == (char)byte_at(pos + j, 1));
			}
		}
		munmap(memory, AREA);
		mapper->rounds++;
	}
	return NULL;
}

static void *change(void *arg)
{
	struct mapper *mapper = arg;
	struct __test_metadata *_metadata = mapper->_metadata;
	unsigned int seed = mapper->who + 1;

	pin_to(mapper->who);
	while (!*mapper->over) {
		long long pos = draw(&seed, AREA - NODE), len = draw(&seed, NODE);
		struct qemufile_range range = { .start = pos, .length = len + 1 };
		int copy;

		switch (draw(&seed, 5)) {
		case 0:
		case 1:
			ASSERT_EQ(len, put_at(mapper->fd, pos, len, 1));
			break;
		case 2:
			ASSERT_EQ(0, ioctl(mapper->fd, QEMUFILE_IOC_PUNCH, &range));
			break;
		case 3:
			ASSERT_EQ(0, set_length(mapper->fd, pos));
			break;
		case 4:
			copy = open_clone(mapper->fd, O_RDONLY);
			ASSERT_LE(0, copy);
			ASSERT_EQ(len, put_at(mapper->fd, pos, len, 1));
			close(copy);
			break;
		}
		mapper->rounds++;
	}
	return NULL;
}

TEST_F(mmap, races_with_everything_that_changes_the_stream)
{
	struct mapper mappers[4];
	pthread_t threads[4];
	atomic_int over = 0;

	for (int i = 0; i < 4; i++) {
		mappers[i] = (struct mapper){
			._metadata = _metadata, .fd = self->fd, .who = i, .over = &over,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i % 3 ? look : change, &mappers[i]));
	}
	sleep_ms(RACE_MS);
	over = 1;
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_LT(0, mappers[i].rounds);
	}
}

/* Two streams that share a page; one is mapped, and loses it while the other is written. */
struct sharers {
	int written;
	const volatile char *seen;	/* of the other */
	atomic_int round;
	atomic_int done;
	atomic_int leaks;
};

static void *write_what_was_shared(void *arg)
{
	struct sharers *sharers = arg;

	pin_to(1);
	for (int round = 1;; round++) {
		while (atomic_load(&sharers->round) < round)
			;
		if (atomic_load(&sharers->round) == INT_MAX)
			return NULL;
		pwrite(sharers->written, "w", 1, 0);
		if (*sharers->seen == 'w')
			atomic_fetch_add(&sharers->leaks, 1);
		atomic_store(&sharers->done, round);
	}
}

TEST_F(mmap, never_shows_another_streams_write)
{
	struct file_clone_range range = { .src_length = PAGE };
	struct qemufile_range first = { .start = 0, .length = PAGE };
	struct sharers sharers = {};
	long long end = now_ms() + RACE_MS;
	int other = open_file(O_RDWR), rounds = 0;
	pthread_t thread;

	ASSERT_LE(0, other);
	ASSERT_EQ(PAGE, put_at(other, 0, PAGE, 1));
	range.src_fd = sharers.written = open_handle(self->fd, O_RDWR);
	ASSERT_LE(0, sharers.written);
	sharers.seen = map(other, PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, sharers.seen);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_what_was_shared, &sharers));
	pin_to(0);
	while (now_ms() < end || rounds < 5) {
		ASSERT_EQ(PAGE, put_at(sharers.written, 0, PAGE, 1));
		ASSERT_EQ(0, ioctl(other, FICLONERANGE, &range)) TH_LOG("%m");
		ASSERT_EQ((char)byte_at(0, 1), *sharers.seen);
		atomic_store(&sharers.round, ++rounds);
		ASSERT_EQ(0, ioctl(other, QEMUFILE_IOC_PUNCH, &first));
		while (atomic_load(&sharers.done) < rounds)
			;
	}
	atomic_store(&sharers.round, INT_MAX);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, sharers.leaks) TH_LOG("in %d rounds", rounds);
	close(sharers.written);
	close(other);
}

/*
 * Somebody keeps a page that a mapping of the stream shows. That is to show what
 * is written to the stream, not what is written to a clone.
 */
TEST_F(mmap, shows_nothing_that_is_written_to_a_clone)
{
	for (int closes = 0; closes < 2; closes++) {
		int source = variant->open(O_RDWR), ends[2], clone;
		struct iovec vec = { .iov_len = PAGE };
		char bytes[PAGE];

		ASSERT_EQ(0, pipe(ends));
		ASSERT_EQ(NODE, put_at(source, 0, NODE, 1));
		vec.iov_base = map(source, PAGE, PROT_READ, MAP_SHARED, 0);
		ASSERT_NE(NULL, vec.iov_base);
		ASSERT_EQ(PAGE, vmsplice(ends[1], &vec, 1, 0));
		clone = open_clone(source, O_RDWR);
		ASSERT_LE(0, clone);
		if (closes) {
			munmap(vec.iov_base, PAGE);
			close(source);
		} else {
			ASSERT_EQ(0, set_length(source, 0));
		}
		ASSERT_EQ(PAGE, put_at(clone, 0, PAGE, 2));
		ASSERT_EQ(PAGE, read(ends[0], bytes, PAGE));
		EXPECT_EQ(PAGE, right(bytes, PAGE, 0, 1)) TH_LOG("closes: %d", closes);
		close(clone);
		if (!closes)
			close(source);
		close(ends[0]);
		close(ends[1]);
	}
}

/* A program, as far as its build ID is concerned. */
static const struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	Elf64_Nhdr note;
	char name[4], id[20];
} program = {
	.header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_version = EV_CURRENT,
		.e_phoff = offsetof(struct program, segment),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	},
	.segment = {
		.p_type = PT_NOTE,
		.p_offset = offsetof(struct program, note),
		.p_filesz = sizeof(struct program) - offsetof(struct program, note),
	},
	.note = { .n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID },
	.name = ELF_NOTE_GNU,
	.id = "0123456789abcdefghi",
};

/* The length of the build ID of what is mapped at @memory, which is put into @id. */
static int build_id(const void *memory, char id[32])
{
	struct procmap_query query = {
		.size = sizeof(query), .query_addr = (uintptr_t)memory,
		.build_id_addr = (uintptr_t)id, .build_id_size = 32,
	};
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int result = ioctl(maps, PROCMAP_QUERY, &query);

	close(maps);
	return result ? -errno : (int)query.build_id_size;
}

/* It reads from the mapping's file, and warns if that is not open for reading. */
TEST_F(mmap, the_kernel_tells_the_build_id_of_a_program)
{
	char id[32] = "", *memory;

	ASSERT_EQ(sizeof(program), pwrite(self->fd, &program, sizeof(program), 0));
	memory = map(self->fd, PAGE, PROT_READ, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, memory);
	EXPECT_EQ(20, build_id(memory, id));
	EXPECT_STREQ(program.id, id);
	/* Of a part it waits for nobody who might write the rest. */
	ASSERT_EQ(0, set_length(self->fd, sizeof(program.header)));
	EXPECT_EQ(0, build_id(memory, id));
	munmap(memory, PAGE);
}

TEST_HARNESS_MAIN
