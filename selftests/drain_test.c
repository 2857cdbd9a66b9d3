// SPDX-License-Identifier: GPL-2.0
/*
 * Drained streams: what counts as read and what does not, what a seal ends, and
 * that nobody waits for what cannot come.
 */
#include "harness.h"

static int set_flags(int fd, unsigned int set)
{
	struct qemufile_flags request = { .set = set };

	return ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &request);
}

static struct qemufile_info info_of(int fd)
{
	struct qemufile_info info = {};

	if (ioctl(fd, QEMUFILE_IOC_GET_INFO, &info))
		memset(&info, 0xee, sizeof(info));
	return info;
}

static long long drained_of(int fd)
{
	return info_of(fd).drained;
}

/* Reads @len bytes and says how many are right. */
static long long take(int fd, long long pos, long long len)
{
	static unsigned char bytes[CHUNK];
	long long done = 0;

	while (done < len) {
		size_t most = len - done < CHUNK ? len - done : CHUNK;
		ssize_t got = read(fd, bytes, most);

		if (got <= 0 || right(bytes, got, pos + done, 1) != got)
			break;
		done += got;
	}
	return done;
}

FIXTURE(drain) {
	int writer, reader;
};

FIXTURE_VARIANT(drain) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(drain, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(drain, file) {
	.open = open_file,
};

FIXTURE_SETUP(drain)
{
	self->writer = variant->open(O_RDWR);
	ASSERT_LE(0, self->writer);
	self->reader = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, self->reader);
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_DRAIN));
}

FIXTURE_TEARDOWN(drain)
{
	close(self->reader);
	close(self->writer);
}

/* ---- what a seal ends, and what excludes draining ---- */

TEST_F(drain, a_sealed_stream_is_never_drained)
{
	int late;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK, take(self->reader, 0, CHUNK));
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	late = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, late);
	EXPECT_EQ(MiB - CHUNK, take(self->reader, CHUNK, MiB - CHUNK));
	EXPECT_EQ(0, take(self->reader, MiB, 1));
	EXPECT_EQ(0, close(self->reader));
	ASSERT_EQ(MiB - 1, lseek(late, MiB - 1, SEEK_SET));
	EXPECT_EQ(1, take(late, MiB - 1, 1));
	/* What was drained before the seal is gone, the rest is there for everybody. */
	EXPECT_EQ(CHUNK, drained_of(self->writer));
	EXPECT_EQ(ENXIO, ERRNO_OF(pread(late, &(char){ 0 }, 1, CHUNK - 1)));
	EXPECT_EQ(MiB - CHUNK, right_at(late, CHUNK, MiB - CHUNK, 1));
	EXPECT_EQ(MiB - CHUNK, right_at(self->writer, CHUNK, MiB - CHUNK, 1));
	close(late);
	self->reader = -1;
}

TEST_F(drain, a_sealed_stream_is_not_made_drained)
{
	int stream = variant->open(O_RDWR);

	ASSERT_LE(0, stream);
	ASSERT_EQ(0, set_flags(stream, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(EPERM, ERRNO_OF(set_flags(stream, QEMUFILE_STREAM_DRAIN)));
	EXPECT_EQ(EPERM, ERRNO_OF(set_flags(stream, QEMUFILE_STREAM_DRAIN | QEMUFILE_STREAM_SEALED)));
	EXPECT_EQ(QEMUFILE_STREAM_SEALED, info_of(stream).stream_flags);
	/* What it has may be set again. */
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_DRAIN));
	EXPECT_EQ(QEMUFILE_STREAM_DRAIN | QEMUFILE_STREAM_SEALED,
		  info_of(self->writer).stream_flags);
	close(stream);
}

TEST_F(drain, append_only_and_drained_exclude_each_other)
{
	int stream = variant->open(O_RDWR);

	ASSERT_LE(0, stream);
	EXPECT_EQ(EINVAL, ERRNO_OF(set_flags(stream, QEMUFILE_STREAM_DRAIN | QEMUFILE_STREAM_APPEND)));
	EXPECT_EQ(0, info_of(stream).stream_flags);
	ASSERT_EQ(0, set_flags(stream, QEMUFILE_STREAM_APPEND));
	EXPECT_EQ(EPERM, ERRNO_OF(set_flags(stream, QEMUFILE_STREAM_DRAIN)));
	/* Nothing of such a request is done. */
	EXPECT_EQ(EPERM, ERRNO_OF(set_flags(stream, QEMUFILE_STREAM_DRAIN | QEMUFILE_STREAM_SEALED)));
	EXPECT_EQ(0, set_flags(stream, QEMUFILE_STREAM_APPEND));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND, info_of(stream).stream_flags);
	EXPECT_EQ(EPERM, ERRNO_OF(set_flags(self->writer, QEMUFILE_STREAM_APPEND)));
	EXPECT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_DRAIN));
	EXPECT_EQ(QEMUFILE_STREAM_DRAIN, info_of(self->writer).stream_flags);
	close(stream);
}

TEST_HARNESS_MAIN
