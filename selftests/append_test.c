// SPDX-License-Identifier: GPL-2.0
/* O_APPEND, RWF_APPEND, RWF_NOAPPEND: writing at the end, wherever that is just now. */
#include "harness.h"

STREAM_FIXTURE(append)

TEST_F(append, o_append_writes_at_the_end_and_moves_there)
{
	int fd = variant->open(O_RDWR | O_APPEND);
	char bytes[100];

	ASSERT_LE(0, fd);
	EXPECT_EQ(100, write(fd, fill(bytes, 100, 0, 1), 100));
	EXPECT_EQ(10, lseek(fd, 10, SEEK_SET));
	EXPECT_EQ(100, write(fd, fill(bytes, 100, 100, 1), 100));
	EXPECT_EQ(200, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(TiB, lseek(fd, TiB, SEEK_SET));
	EXPECT_EQ(100, write(fd, fill(bytes, 100, 200, 1), 100));
	EXPECT_EQ(300, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(300, length_of(fd));
	EXPECT_EQ(300, right_at(fd, 0, 300, 1));
	EXPECT_EQ(0, close(fd));
}

TEST_F(append, o_append_can_be_switched_on_and_off)
{
	char bytes[100];

	EXPECT_EQ(100, write(self->fd, fill(bytes, 100, 0, 1), 100));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(100, write(self->fd, fill(bytes, 100, 100, 1), 100));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	EXPECT_EQ(50, write(self->fd, fill(bytes, 50, 0, 2), 50));
	EXPECT_EQ(50, right_at(self->fd, 0, 50, 2));
	EXPECT_EQ(150, right_at(self->fd, 50, 150, 1));
	EXPECT_EQ(200, length_of(self->fd));
}

/* As pwrite(2) says under BUGS: the data goes to the end, whatever the offset. */
TEST_F(append, pwrite_with_o_append_goes_to_the_end)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	ASSERT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	EXPECT_EQ(100, pwrite(self->fd, fill(bytes, 100, 100, 1), 100, 0));
	EXPECT_EQ(7, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(200, length_of(self->fd));
	EXPECT_EQ(200, right_at(self->fd, 0, 200, 1));
}

TEST_F(append, rwf_append_writes_at_the_end)
{
	struct iovec iov;
	char bytes[100];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = 100 };
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	/* With an offset, which does not matter, the position stays. */
	fill(bytes, 100, 100, 1);
	EXPECT_EQ(100, pwritev2(self->fd, &iov, 1, 0, RWF_APPEND));
	EXPECT_EQ(7, lseek(self->fd, 0, SEEK_CUR));
	/* Without one, it moves. */
	fill(bytes, 100, 200, 1);
	EXPECT_EQ(100, pwritev2(self->fd, &iov, 1, -1, RWF_APPEND));
	EXPECT_EQ(300, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(300, length_of(self->fd));
	EXPECT_EQ(300, right_at(self->fd, 0, 300, 1));
}

TEST_F(append, rwf_append_can_be_atomic)
{
	unsigned char *memory = fresh_memory(NODE + 1);
	struct iovec iov[2] = {
		{ .iov_base = memory, .iov_len = 100 },
		{ .iov_base = memory + 100, .iov_len = NODE + 1 - 100 },
	};

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	fill(memory, NODE + 1, 100, 1);
	EXPECT_EQ(NODE + 1, pwritev2(self->fd, iov, 2, -1, RWF_APPEND | RWF_ATOMIC));
	EXPECT_EQ(NODE + 101, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(NODE + 101, right_at(self->fd, 0, NODE + 101, 1));
}

TEST_F(append, rwf_noappend_overrides_o_append)
{
	struct iovec iov;
	char bytes[50];

	iov = (struct iovec){ .iov_base = bytes, .iov_len = 50 };
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	fill(bytes, 50, 20, 2);
	EXPECT_EQ(50, pwritev2(self->fd, &iov, 1, 20, RWF_NOAPPEND));
	EXPECT_EQ(100, length_of(self->fd));
	EXPECT_EQ(20, right_at(self->fd, 0, 20, 1));
	EXPECT_EQ(50, right_at(self->fd, 20, 50, 2));
	EXPECT_EQ(30, right_at(self->fd, 70, 30, 1));
	/* At the position, too, which then moves. */
	ASSERT_EQ(70, lseek(self->fd, 70, SEEK_SET));
	fill(bytes, 50, 70, 3);
	EXPECT_EQ(50, pwritev2(self->fd, &iov, 1, -1, RWF_NOAPPEND));
	EXPECT_EQ(120, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(120, length_of(self->fd));
	EXPECT_EQ(50, right_at(self->fd, 70, 50, 3));
}

TEST_F(append, a_failed_append_leaves_the_position)
{
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	ASSERT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	EXPECT_EQ(EFAULT, ERRNO_OF(write(self->fd, nowhere(), 10)));
	EXPECT_EQ(7, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(100, length_of(self->fd));
}

TEST_HARNESS_MAIN
