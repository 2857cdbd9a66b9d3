// SPDX-License-Identifier: GPL-2.0
/* What the end of a named stream is for its readers. */
#include "harness.h"
#include "mounts.h"

FIXTURE(follow) {
	int writer, reader;
};

FIXTURE_SETUP(follow)
{
	ASSERT_EQ(0, prepare_mounts());
	ASSERT_EQ(0, mount_names(NULL));
	self->writer = create("a", O_WRONLY);
	ASSERT_LE(0, self->writer);
	self->reader = open(at("a"), O_RDONLY);
	ASSERT_LE(0, self->reader);
}

FIXTURE_TEARDOWN(follow)
{
	close(self->writer);
	close(self->reader);
	umount2(MOUNT_POINT, MNT_DETACH);
}

/* A file's, whoever has it open. */
TEST_F(follow, the_end_is_the_end)
{
	char byte;

	EXPECT_EQ(0, read(self->reader, &byte, 1));
	ASSERT_EQ(1, write(self->writer, "x", 1));
	EXPECT_EQ(1, read(self->reader, &byte, 1));
	EXPECT_EQ(0, read(self->reader, &byte, 1));
	EXPECT_EQ(POLLIN, polled(self->reader, POLLIN | POLLHUP | POLLRDHUP));
	close(self->writer);
	self->writer = -1;
	EXPECT_EQ(POLLIN, polled(self->reader, POLLIN | POLLHUP | POLLRDHUP));
	EXPECT_EQ(0, read(self->reader, &byte, 1));
}

TEST_F(follow, a_reader_waits_for_who_only_writes)
{
	struct pending_read call = {};
	char byte;

	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_FOLLOW));
	EXPECT_EQ(QEMUFILE_STREAM_FOLLOW, info_of(self->reader).stream_flags);
	EXPECT_EQ(0, polled(self->reader, POLLIN | POLLHUP | POLLRDHUP));
	ASSERT_TRUE(read_waits(&call, self->reader, 1, 0));
	ASSERT_EQ(1, write(self->writer, "x", 1));
	EXPECT_EQ(1, read_result(&call, 5000));
	ASSERT_EQ(1, read(self->reader, &byte, 1));
	ASSERT_TRUE(read_waits(&call, self->reader, 1, 1));
	close(self->writer);
	self->writer = -1;
	EXPECT_EQ(0, read_result(&call, 5000));
	EXPECT_EQ(POLLIN | POLLHUP | POLLRDHUP,
		  polled(self->reader, POLLIN | POLLHUP | POLLRDHUP));
	/* Somebody opens it again for writing alone. */
	self->writer = open(at("a"), O_WRONLY | O_APPEND);
	EXPECT_EQ(0, polled(self->reader, POLLIN));
	ASSERT_EQ(1, write(self->writer, "y", 1));
	EXPECT_EQ(1, read(self->reader, &byte, 1));
	EXPECT_EQ('y', byte);
}

/* A VMM that has its memory there would keep them waiting for ever. */
TEST_F(follow, nobody_waits_for_who_reads_as_well)
{
	int both = open(at("a"), O_RDWR);
	char byte;

	ASSERT_LE(0, both);
	ASSERT_EQ(0, set_flags(both, QEMUFILE_STREAM_FOLLOW));
	close(self->writer);
	self->writer = -1;
	EXPECT_EQ(0, read(self->reader, &byte, 1));
	EXPECT_EQ(0, read(both, &byte, 1));
	close(both);
}

TEST_F(follow, setting_it_is_seen_by_a_reader_at_the_end)
{
	int fd = open(at("a"), O_RDONLY | O_NONBLOCK);
	char byte;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, read(fd, &byte, 1));
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_FOLLOW));
	EXPECT_EQ(EAGAIN, ERRNO_OF(read(fd, &byte, 1)));
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(0, read(fd, &byte, 1));
	close(fd);
}

TEST_F(follow, a_drained_stream_always_has_it)
{
	struct pending_read call = {};

	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_DRAIN));
	ASSERT_TRUE(read_waits(&call, self->reader, 1, -1));
	ASSERT_EQ(1, write(self->writer, "x", 1));
	EXPECT_EQ(1, read_result(&call, 5000));
}

TEST_F(follow, a_mount_gives_it_to_all_its_files)
{
	int writer, clone;

	ASSERT_EQ(0, umount2(MOUNT_POINT, MNT_DETACH));
	ASSERT_EQ(0, mount_names("follow"));
	writer = create("a", O_WRONLY);
	ASSERT_LE(0, writer);
	EXPECT_EQ(QEMUFILE_STREAM_FOLLOW, info_of(writer).stream_flags);
	close(writer);
	writer = open(at("a"), O_RDWR);
	clone = open_clone(writer, O_RDWR);
	ASSERT_LE(0, clone);
	EXPECT_EQ(QEMUFILE_STREAM_FOLLOW, info_of(clone).stream_flags);
	close(clone);
	close(writer);
	/* For those made from now on. */
	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "nofollow"));
	writer = create("b", O_WRONLY);
	EXPECT_EQ(0, info_of(writer).stream_flags);
	close(writer);
}

/* There all who may write are waited for. */
TEST_F(follow, means_nothing_to_a_stream_of_the_device)
{
	int device = open_device(O_RDWR), reader;
	char byte;

	ASSERT_LE(0, device);
	ASSERT_EQ(0, set_flags(device, QEMUFILE_STREAM_FOLLOW));
	reader = open_handle(device, O_RDONLY | O_NONBLOCK);
	ASSERT_LE(0, reader);
	EXPECT_EQ(EAGAIN, ERRNO_OF(read(reader, &byte, 1)));
	close(device);
	EXPECT_EQ(0, read(reader, &byte, 1));
	close(reader);
}

TEST_HARNESS_MAIN
