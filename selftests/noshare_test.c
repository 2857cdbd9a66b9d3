// SPDX-License-Identifier: GPL-2.0
/*
 * QEMUFILE_STREAM_NOSHARE: a handle that only reads gets bytes, but no references
 * to pages. What it takes is a copy. That it cannot keep the writer's memory is
 * in memory_test.c.
 */
#include <linux/fs.h>
#include <sys/sendfile.h>

#include "harness.h"

FIXTURE(noshare) {
	int fd;
	int reader;
	int in;		/* a pipe's end to put into */
	int out;	/* and the one to take out of */
};

FIXTURE_VARIANT(noshare) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(noshare, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(noshare, file) {
	.open = open_file,
};

static uint32_t flags_of(int fd)
{
	struct qemufile_info info = {};

	return ioctl(fd, QEMUFILE_IOC_GET_INFO, &info) ? ~0U : info.stream_flags;
}

FIXTURE_SETUP(noshare)
{
	int pipe_fds[2];

	self->fd = variant->open(O_RDWR);
	ASSERT_LE(0, self->fd);
	self->reader = open_handle(self->fd, O_RDONLY);
	ASSERT_LE(0, self->reader);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_NOSHARE));
	ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
	self->out = pipe_fds[0];
	self->in = pipe_fds[1];
	ASSERT_LE(MiB, fcntl(self->in, F_SETPIPE_SZ, MiB));
}

FIXTURE_TEARDOWN(noshare)
{
	close(self->fd);
	close(self->reader);
	close(self->in);
	close(self->out);
}

TEST_F(noshare, is_set_for_good_by_who_can_write)
{
	int other = variant->open(O_RDWR), reader = open_handle(other, O_RDONLY);

	ASSERT_LE(0, reader);
	EXPECT_EQ(QEMUFILE_STREAM_NOSHARE, flags_of(self->fd));
	EXPECT_EQ(QEMUFILE_STREAM_NOSHARE, flags_of(self->reader));
	EXPECT_EQ(0, set_flags(self->fd, 0));
	EXPECT_EQ(QEMUFILE_STREAM_NOSHARE, flags_of(self->fd));
	EXPECT_EQ(EBADF, ERRNO_OF(set_flags(reader, QEMUFILE_STREAM_NOSHARE)));
	EXPECT_EQ(0, flags_of(other));
	close(reader);
	close(other);
}

/* By no handle that it can get. */
TEST_F(noshare, a_reader_cannot_clone)
{
	int again = reopen(self->reader, O_RDONLY), more = open_handle(self->reader, O_RDONLY);
	int readers[] = { self->reader, again, more };
	int target = open_file(O_RDWR);

	ASSERT_LE(0, again);
	ASSERT_LE(0, more);
	ASSERT_LE(0, target);
	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
		EXPECT_EQ(EPERM, ERRNO_OF(open_clone(readers[i], O_RDONLY)));
		EXPECT_EQ(EPERM, ERRNO_OF(ioctl(target, FICLONE, readers[i])));
		EXPECT_EQ(EPERM, ERRNO_OF(clone_range(target, readers[i], 0, PAGE, 0)));
		EXPECT_EQ(2 * PAGE, right_at(readers[i], 0, 2 * PAGE, 1));
	}
	EXPECT_EQ(0, length_of(target));
	close(target);
	close(more);
	close(again);
}

TEST_F(noshare, who_can_write_clones)
{
	const int modes[] = { O_WRONLY, O_RDWR };

	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		int writer = open_handle(self->fd, modes[i]), target = open_file(O_RDWR), clone;

		ASSERT_LE(0, writer);
		ASSERT_LE(0, target);
		clone = open_clone(writer, modes[i]);
		EXPECT_LE(0, clone) TH_LOG("%m");
		EXPECT_EQ(modes[i] == O_RDWR ? 0 : EBADF, ERRNO_OF(ioctl(target, FICLONE, writer)));
		close(clone);
		close(target);
		close(writer);
	}
}

/* The pages of a clone are those of its source, so its readers share them no more. */
TEST_F(noshare, a_clone_has_it_too)
{
	int clone, reader;

	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	clone = open_clone(self->fd, O_RDWR);
	reader = open_handle(clone, O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(QEMUFILE_STREAM_NOSHARE, flags_of(clone));
	EXPECT_EQ(EPERM, ERRNO_OF(open_clone(reader, O_RDONLY)));
	close(reader);
	close(clone);
}

TEST_F(noshare, a_splice_is_a_copy_of_the_bytes)
{
	const long long starts[] = { 0, 1, PAGE - 1, CHUNK + 3, NODE - 1 };
	const long long lens[] = { 1, PAGE, PAGE + 1, CHUNK + 7, NODE + 1 };

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			loff_t pos = starts[i];

			ASSERT_EQ(lens[j], splice(self->reader, &pos, self->in, NULL, lens[j], 0))
				TH_LOG("%lld at %lld: %m", lens[j], starts[i]);
			ASSERT_EQ(starts[i] + lens[j], pos);
			/* What is written now is not what was taken. */
			ASSERT_EQ(lens[j], put_at(self->fd, starts[i], lens[j], 2));
			ASSERT_EQ(lens[j], take(self->out, lens[j], starts[i], 1));
			ASSERT_EQ(lens[j], put_at(self->fd, starts[i], lens[j], 1));
		}
	}
}

TEST_F(noshare, a_splice_of_a_hole_is_zeros)
{
	ASSERT_EQ(5, put_at(self->fd, 3 * PAGE + 7, 5, 1));
	EXPECT_EQ(3 * PAGE + 12, splice(self->reader, NULL, self->in, NULL, MiB, SPLICE_F_NONBLOCK));
	EXPECT_EQ(3 * PAGE + 12, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_EQ(3 * PAGE + 7, take(self->out, 3 * PAGE + 7, 0, ZEROS));
	EXPECT_EQ(5, take(self->out, 5, 3 * PAGE + 7, 1));
	EXPECT_EQ(EAGAIN, ERRNO_OF(splice(self->reader, NULL, self->in, NULL, 1,
					  SPLICE_F_NONBLOCK)));
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(0, splice(self->reader, NULL, self->in, NULL, 1, 0));
}

/* While it waits, others can use the pipe. */
TEST_F(noshare, a_splice_waits_without_the_pipe)
{
	char bytes[10] = "";
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0) {
		close(self->fd);
		_exit(splice(self->reader, NULL, self->in, NULL, 1000, 0) != 10);
	}
	ASSERT_TRUE(sleeps_in(child, SYS_splice));
	ASSERT_EQ(5, write(self->in, "first", 5));
	ASSERT_EQ(5, read(self->out, bytes, 10));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(10, take(self->out, 10, 0, 1));
}

TEST_F(noshare, a_splice_drains)
{
	struct qemufile_limit limit = { .limit = CHUNK };
	struct qemufile_info info;
	static char bytes[CHUNK];

	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_DRAIN));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	for (long long pos = 0; pos < MiB; pos += CHUNK) {
		ASSERT_EQ(CHUNK, pwrite(self->fd, fill(bytes, CHUNK, pos, 1), CHUNK, pos));
		ASSERT_EQ(CHUNK, splice(self->reader, NULL, self->in, NULL, MiB, 0));
		/* It goes on after it. */
		ASSERT_EQ(0, polled(self->reader, POLLIN));
		ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
		ASSERT_EQ(pos + CHUNK, (long long)info.drained);
		ASSERT_EQ(0, (long long)info.allocated);
	}
	EXPECT_EQ(MiB, take(self->out, MiB, 0, 1));
	EXPECT_EQ(ENXIO, ERRNO_OF(splice(self->reader, &(loff_t){ 0 }, self->in, NULL, 1, 0)));
}

TEST_F(noshare, sendfile_and_copy_file_range_copy)
{
	int target = open_file(O_RDWR), file = file_with(0, 0);
	off_t from = 0, to = 0;

	ASSERT_LE(0, target);
	ASSERT_LE(0, file);
	ASSERT_EQ(MiB + 5, put_at(self->fd, 0, MiB + 5, 1));
	EXPECT_EQ(MiB + 5, sendfile(file, self->reader, &from, MiB + 5));
	EXPECT_EQ(MiB + 5, right_at(file, 0, MiB + 5, 1));
	from = 0;
	while (from < MiB + 5) {
		ASSERT_LT(0, copy_file_range(self->reader, &from, target, &to, MiB + 5 - from, 0))
			TH_LOG("%m");
	}
	EXPECT_EQ(MiB + 5, to);
	EXPECT_EQ(MiB + 5, put_at(self->fd, 0, MiB + 5, 2));
	EXPECT_EQ(MiB + 5, right_at(target, 0, MiB + 5, 1));
	/* And what is written there is not in what others were given. */
	EXPECT_EQ(PAGE, put_at(target, 0, PAGE, 3));
	EXPECT_EQ(MiB + 5, right_at(self->reader, 0, MiB + 5, 2));
	close(file);
	close(target);
}

/* A copied page is one of its owner's, wherever tee(2) and splice(2) take it. */
TEST_F(noshare, a_copy_never_changes)
{
	int a = variant->open(O_RDWR), b = variant->open(O_RDWR), pipe_fds[2];

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK, splice(self->reader, NULL, self->in, NULL, CHUNK, 0));
	ASSERT_EQ(CHUNK, tee(self->out, pipe_fds[1], CHUNK, 0));
	ASSERT_EQ(CHUNK, splice(self->out, NULL, a, NULL, CHUNK, 0));
	ASSERT_EQ(CHUNK, put_at(a, 0, CHUNK, 2));
	ASSERT_EQ(CHUNK, splice(pipe_fds[0], NULL, b, NULL, CHUNK, 0));
	EXPECT_EQ(CHUNK, right_at(b, 0, CHUNK, 1));
	EXPECT_EQ(CHUNK, right_at(a, 0, CHUNK, 2));
	EXPECT_EQ(CHUNK, right_at(self->reader, 0, CHUNK, 1));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(a);
	close(b);
}

TEST_HARNESS_MAIN
