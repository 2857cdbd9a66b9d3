// SPDX-License-Identifier: GPL-2.0
/*
 * io_uring(7), through liburing: reads and writes with ordinary and registered
 * buffers, syncs, polls, splices; reads that are queued before their data exists.
 */
#include <liburing.h>

#include "harness.h"

FIXTURE(uring) {
	int fd;
	struct io_uring ring;
};

FIXTURE_VARIANT(uring) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(uring, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(uring, file) {
	.open = open_file,
};

FIXTURE_SETUP(uring)
{
	int error = io_uring_queue_init(64, &self->ring, 0);

	if (error == -ENOSYS || error == -EPERM)
		SKIP(return, "no CONFIG_IO_URING, or kernel.io_uring_disabled");
	ASSERT_EQ(0, error);
	self->fd = variant->open(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(uring)
{
	close(self->fd);
	io_uring_queue_exit(&self->ring);
}

/* The result of the call with this number, others being dropped; INT_MIN if it takes 5 s. */
static int result_of(struct io_uring *ring, uint64_t number)
{
	struct __kernel_timespec time = { .tv_sec = 5 };
	struct io_uring_cqe *cqe;

	for (;;) {
		uint64_t seen;
		int result;

		if (io_uring_wait_cqe_timeout(ring, &cqe, &time))
			return INT_MIN;
		seen = cqe->user_data;
		result = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		if (seen == number)
			return result;
	}
}

static bool nothing_is_done(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	sleep_ms(20);
	return io_uring_peek_cqe(ring, &cqe) == -EAGAIN;
}

static struct io_uring_sqe *call(struct io_uring *ring, uint64_t number)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	/* Preparing the call clears all but the number, if that comes after it. */
	sqe->user_data = number;
	return sqe;
}

#define CALL(number, prepare, ...)						\
	({									\
		struct io_uring_sqe *_sqe = call(&self->ring, number);		\
		prepare(_sqe, ##__VA_ARGS__);					\
		_sqe->user_data = number;					\
		_sqe;								\
	})

#define SUBMIT() ASSERT_LE(0, io_uring_submit(&self->ring))

TEST_F(uring, writes_and_reads)
{
	char *memory = fresh_memory(MiB);
	struct iovec iov[2] = {
		{ .iov_base = memory, .iov_len = 1000 },
		{ .iov_base = memory + 1000, .iov_len = MiB - 1000 },
	};

	fill(memory, MiB, 5, 1);
	CALL(1, io_uring_prep_write, self->fd, memory, MiB, 5);
	SUBMIT();
	EXPECT_EQ(MiB, result_of(&self->ring, 1));
	EXPECT_EQ(MiB, right_at(self->fd, 5, MiB, 1));
	memset(memory, 0, MiB);
	CALL(2, io_uring_prep_readv, self->fd, iov, 2, 5);
	SUBMIT();
	EXPECT_EQ(MiB, result_of(&self->ring, 2));
	EXPECT_EQ(MiB, right(memory, MiB, 5, 1));
	fill(memory, MiB, MiB, 2);
	CALL(3, io_uring_prep_writev, self->fd, iov, 2, MiB);
	SUBMIT();
	EXPECT_EQ(MiB, result_of(&self->ring, 3));
	EXPECT_EQ(MiB, right_at(self->fd, MiB, MiB, 2));
	CALL(4, io_uring_prep_read, self->fd, memory, MiB, 2 * MiB);
	SUBMIT();
	EXPECT_EQ(0, result_of(&self->ring, 4));
}

TEST_F(uring, at_the_position)
{
	char bytes[100];

	for (int i = 0; i < 3; i++) {
		fill(bytes, 100, 100 * i, 1);
		CALL(i, io_uring_prep_write, self->fd, bytes, 100, -1);
		SUBMIT();
		EXPECT_EQ(100, result_of(&self->ring, i));
	}
	EXPECT_EQ(300, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(300, right_at(self->fd, 0, 300, 1));
	ASSERT_EQ(50, lseek(self->fd, 50, SEEK_SET));
	CALL(9, io_uring_prep_read, self->fd, bytes, 100, -1);
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 9));
	EXPECT_EQ(100, right(bytes, 100, 50, 1));
	EXPECT_EQ(150, lseek(self->fd, 0, SEEK_CUR));
}

/* By a worker, as for a file that could wait. */
TEST_F(uring, asynchronously)
{
	enum { COUNT = 32 };
	char *memory = fresh_memory(COUNT * CHUNK);

	fill(memory, COUNT * CHUNK, 0, 1);
	for (int i = 0; i < COUNT; i++)
		CALL(i, io_uring_prep_write, self->fd, memory + i * CHUNK, CHUNK,
		     i * CHUNK)->flags |= IOSQE_ASYNC;
	SUBMIT();
	for (int i = 0; i < COUNT; i++) {
		struct io_uring_cqe *cqe;

		ASSERT_EQ(0, io_uring_wait_cqe(&self->ring, &cqe));
		EXPECT_EQ(CHUNK, cqe->res);
		io_uring_cqe_seen(&self->ring, cqe);
	}
	EXPECT_EQ(COUNT * CHUNK, right_at(self->fd, 0, COUNT * CHUNK, 1));
}

TEST_F(uring, in_a_chain)
{
	char bytes[PAGE], copy[PAGE];

	fill(bytes, PAGE, 0, 1);
	CALL(1, io_uring_prep_write, self->fd, bytes, PAGE, 0)->flags |= IOSQE_IO_LINK;
	CALL(2, io_uring_prep_fsync, self->fd, 0)->flags |= IOSQE_IO_LINK;
	CALL(3, io_uring_prep_read, self->fd, copy, PAGE, 0);
	SUBMIT();
	EXPECT_EQ(PAGE, result_of(&self->ring, 3));
	EXPECT_EQ(PAGE, right(copy, PAGE, 0, 1));
}

/*
 * A device would go on storing to the pages after a clone shares them. The kernel
 * refuses to pin them for long: FOLL_LONGTERM.
 */
TEST_F(uring, a_writable_mapping_is_no_registered_buffer)
{
	struct iovec iov = { .iov_len = MiB };

	ASSERT_EQ(0, set_length(self->fd, MiB));
	iov.iov_base = mmap(NULL, MiB, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, iov.iov_base);
	EXPECT_EQ(-EFAULT, io_uring_register_buffers(&self->ring, &iov, 1));
	/* An ordinary read into it works. */
	CALL(1, io_uring_prep_read, self->fd, iov.iov_base, MiB, 0);
	SUBMIT();
	EXPECT_EQ(MiB, result_of(&self->ring, 1));
}

TEST_F(uring, registered_buffers_and_files)
{
	char *memory = mmap(NULL, MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { .iov_base = memory, .iov_len = MiB };

	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &iov, 1));
	ASSERT_EQ(0, io_uring_register_files(&self->ring, &self->fd, 1));
	fill(memory, MiB, 7, 1);
	CALL(1, io_uring_prep_write_fixed, 0, memory, MiB, 7, 0)->flags |= IOSQE_FIXED_FILE;
	SUBMIT();
	EXPECT_EQ(MiB, result_of(&self->ring, 1));
	EXPECT_EQ(MiB, right_at(self->fd, 7, MiB, 1));
	memset(memory, 0, MiB);
	CALL(2, io_uring_prep_read_fixed, 0, memory + 100, MiB - 100, 7, 0)->flags |=
		IOSQE_FIXED_FILE;
	SUBMIT();
	EXPECT_EQ(MiB - 100, result_of(&self->ring, 2));
	EXPECT_EQ(MiB - 100, right(memory + 100, MiB - 100, 7, 1));
	/* All or nothing, from a registered buffer. */
	CALL(3, io_uring_prep_write_fixed, 0, memory + 100, CHUNK, 7, 0)->flags |=
		IOSQE_FIXED_FILE;
	SUBMIT();
	EXPECT_EQ(CHUNK, result_of(&self->ring, 3));
	/* The ring keeps the file. */
	ASSERT_EQ(0, close(self->fd));
	CALL(4, io_uring_prep_read_fixed, 0, memory, 100, 7, 0)->flags |= IOSQE_FIXED_FILE;
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 4));
	EXPECT_EQ(100, right(memory, 100, 7, 1));
	EXPECT_EQ(0, io_uring_unregister_files(&self->ring));
}

TEST_F(uring, flags)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	fill(bytes, 100, 100, 1);
	CALL(1, io_uring_prep_write, self->fd, bytes, 100, 0)->rw_flags = RWF_APPEND;
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 1));
	EXPECT_EQ(200, right_at(self->fd, 0, 200, 1));
	CALL(2, io_uring_prep_write, self->fd, bytes, 100, 100)->rw_flags = RWF_ATOMIC | RWF_SYNC;
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 2));
	CALL(3, io_uring_prep_write, self->fd, bytes, 100, 100)->rw_flags = 1 << 30;
	SUBMIT();
	EXPECT_EQ(-EOPNOTSUPP, result_of(&self->ring, 3));
}

/* Without a worker: io_uring knows that the file can do that (FOP_BUFFER_WASYNC). */
TEST_F(uring, a_write_needs_no_worker)
{
	char bytes[100];

	CALL(1, io_uring_prep_write, self->fd, fill(bytes, 100, 0, 1), 100, 0)->rw_flags =
		RWF_NOWAIT;
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 1));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	CALL(2, io_uring_prep_read, self->fd, bytes, 100, 0)->rw_flags = RWF_NOWAIT;
	SUBMIT();
	EXPECT_EQ(100, result_of(&self->ring, 2));
}

TEST_F(uring, errors)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};
	int reader = variant->open(O_RDONLY);

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_write, reader, "x", 1, 0);
	SUBMIT();
	EXPECT_EQ(-EBADF, result_of(&self->ring, 1));
	CALL(2, io_uring_prep_write, self->fd, nowhere(), 10, 0);
	SUBMIT();
	EXPECT_EQ(-EFAULT, result_of(&self->ring, 2));
	CALL(3, io_uring_prep_fsync, self->fd, 0);
	SUBMIT();
	EXPECT_EQ(0, result_of(&self->ring, 3));
	CALL(4, io_uring_prep_writev, self->fd, iov, 2, 0);
	SUBMIT();
	EXPECT_EQ(4, result_of(&self->ring, 4));
	CALL(5, io_uring_prep_fsync, self->fd, IORING_FSYNC_DATASYNC);
	SUBMIT();
	EXPECT_EQ(-EFAULT, result_of(&self->ring, 5));
	CALL(6, io_uring_prep_fsync, self->fd, 0);
	SUBMIT();
	EXPECT_EQ(0, result_of(&self->ring, 6));
	close(reader);
}

TEST_F(uring, what_a_stream_has_not_is_eopnotsupp)
{
	struct io_uring polling;
	struct io_uring_sqe *sqe;
	char byte;

	sqe = CALL(1, io_uring_prep_nop);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, self->fd, NULL, 0, 0);
	sqe->user_data = 1;
	SUBMIT();
	EXPECT_EQ(-EOPNOTSUPP, result_of(&self->ring, 1));
	ASSERT_EQ(0, io_uring_queue_init(4, &polling, IORING_SETUP_IOPOLL));
	ASSERT_EQ(1, put_at(self->fd, 0, 1, 1));
	sqe = io_uring_get_sqe(&polling);
	io_uring_prep_read(sqe, self->fd, &byte, 1, 0);
	sqe->user_data = 2;
	ASSERT_EQ(1, io_uring_submit(&polling));
	EXPECT_EQ(-EOPNOTSUPP, result_of(&polling, 2));
	io_uring_queue_exit(&polling);
}

/* ---- reads that wait ---- */

TEST_F(uring, a_read_is_queued_before_its_data_exists)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[30];

	ASSERT_LE(0, reader);
	for (int async = 0; async < 2; async++) {
		CALL(1, io_uring_prep_read, reader, bytes, 30, 30 * async)->flags |=
			async ? IOSQE_ASYNC : 0;
		SUBMIT();
		EXPECT_TRUE(nothing_is_done(&self->ring));
		ASSERT_EQ(30, put_at(self->fd, 30 * async, 30, 1));
		EXPECT_EQ(30, result_of(&self->ring, 1));
		EXPECT_EQ(30, right(bytes, 30, 30 * async, 1));
	}
	close(reader);
}

/*
 * io_uring wants all of what it reads from a regular file; from a device it takes
 * what there is. Of a stream that has ended, both get the rest.
 */
TEST_F(uring, a_read_of_a_regular_file_waits_for_all_of_it)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[100];

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_read, reader, bytes, 100, 0);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(30, put_at(self->fd, 0, 30, 1));
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(50, put_at(self->fd, 30, 50, 1));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(80, result_of(&self->ring, 1));
	EXPECT_EQ(80, right(bytes, 80, 0, 1));
	close(reader);
}

TEST_F(uring, a_read_of_the_device_takes_what_there_is)
{
	int device = open_device(O_RDWR), writer = open_handle(device, O_WRONLY);
	char bytes[100];

	ASSERT_LE(0, writer);
	CALL(1, io_uring_prep_read, device, bytes, 100, 0);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(30, put_at(writer, 0, 30, 1));
	EXPECT_EQ(30, result_of(&self->ring, 1));
	EXPECT_EQ(30, right(bytes, 30, 0, 1));
	close(writer);
	close(device);
}

/* Ten bytes are there and 64 are asked for: a regular file waits for the rest. */
TEST_F(uring, only_of_a_regular_file_a_short_read_waits)
{
	int writer = open_handle(self->fd, O_WRONLY);
	char bytes[64];

	ASSERT_LE(0, writer);
	ASSERT_EQ(10, put_at(writer, 0, 10, 1));
	CALL(1, io_uring_prep_read, self->fd, bytes, 64, 0);
	SUBMIT();
	if (variant->open == open_device) {
		EXPECT_EQ(10, result_of(&self->ring, 1));
	} else {
		EXPECT_TRUE(nothing_is_done(&self->ring));
		ASSERT_EQ(54, put_at(writer, 10, 54, 1));
		EXPECT_EQ(64, result_of(&self->ring, 1));
	}
	EXPECT_EQ(10, right(bytes, 10, 0, 1));
	close(writer);
}

/* The way out, for both: what poll says is there, RWF_NOWAIT takes, in one chain. */
TEST_F(uring, a_poll_and_a_read_that_does_not_wait_take_what_there_is)
{
	int writer = open_handle(self->fd, O_WRONLY);
	char bytes[64];

	ASSERT_LE(0, writer);
	for (int i = 0; i < 3; i++) {
		CALL(1, io_uring_prep_poll_add, self->fd, POLLIN)->flags |= IOSQE_IO_LINK;
		CALL(2, io_uring_prep_read, self->fd, bytes, 64, -1)->rw_flags = RWF_NOWAIT;
		SUBMIT();
		EXPECT_TRUE(nothing_is_done(&self->ring));
		ASSERT_EQ(10, put_at(writer, 10 * i, 10, 1));
		EXPECT_EQ(10, result_of(&self->ring, 2));
		EXPECT_EQ(10, right(bytes, 10, 10 * i, 1));
	}
	close(writer);
}

TEST_F(uring, a_read_that_waits_ends_with_the_last_writer)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[100];

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_read, reader, bytes, 100, 0);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, result_of(&self->ring, 1));
	close(reader);
}

TEST_F(uring, a_read_that_waits_can_be_cancelled)
{
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[100];

	ASSERT_LE(0, reader);
	for (int async = 0; async < 2; async++) {
		int result;

		CALL(1, io_uring_prep_read, reader, bytes, 100, 0)->flags |=
			async ? IOSQE_ASYNC : 0;
		SUBMIT();
		EXPECT_TRUE(nothing_is_done(&self->ring));
		CALL(2, io_uring_prep_cancel64, 1, 0);
		SUBMIT();
		result = result_of(&self->ring, 1);
		EXPECT_TRUE(result == -ECANCELED || result == -EINTR) TH_LOG("%d", result);
	}
	/* Nothing was taken by it. */
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(10, read(reader, bytes, 100));
	close(reader);
}

TEST_F(uring, a_read_can_have_a_timeout)
{
	struct __kernel_timespec time = { .tv_nsec = 50000000 };
	int reader = open_handle(self->fd, O_RDONLY), result;
	char bytes[100];

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_read, reader, bytes, 100, 0)->flags |= IOSQE_IO_LINK;
	CALL(2, io_uring_prep_link_timeout, &time, 0);
	SUBMIT();
	result = result_of(&self->ring, 1);
	EXPECT_TRUE(result == -ECANCELED || result == -EINTR) TH_LOG("%d", result);
	close(reader);
}

/* The ring goes while a read of it waits. */
TEST_F(uring, a_read_that_waits_ends_with_its_ring)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct qemufile_info info;
	struct io_uring ring;
	char bytes[100];

	ASSERT_LE(0, reader);
	for (int async = 0; async < 2; async++) {
		struct io_uring_sqe *sqe;

		ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_read(sqe, reader, bytes, 100, 0);
		sqe->flags |= async ? IOSQE_ASYNC : 0;
		ASSERT_EQ(1, io_uring_submit(&ring));
		sleep_ms(20);
		io_uring_queue_exit(&ring);
	}
	ASSERT_EQ(0, close(reader));
	/* The file is let go of, soon. */
	for (int i = 0; i < 3000; i++) {
		ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
		if (info.readers == 1)
			break;
		sleep_ms(1);
	}
	EXPECT_EQ(1, info.readers);
}

/* What O_NONBLOCK files are to io_uring: it polls them, and tries again. */
TEST_F(uring, rwf_nowait_is_eagain_and_o_nonblock_is_not)
{
	int reader = open_handle(self->fd, O_RDONLY | O_NONBLOCK);
	char bytes[30];

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_read, reader, bytes, 30, 0)->rw_flags = RWF_NOWAIT;
	SUBMIT();
	EXPECT_EQ(-EAGAIN, result_of(&self->ring, 1));
	CALL(2, io_uring_prep_read, reader, bytes, 30, 0);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(30, put_at(self->fd, 0, 30, 1));
	EXPECT_EQ(30, result_of(&self->ring, 2));
	close(reader);
}

TEST_F(uring, a_writer_waits_for_room)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_limit limit = { .limit = PAGE };
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[PAGE], got[PAGE];

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(PAGE, put_at(self->fd, 0, PAGE, 1));
	fill(bytes, PAGE, PAGE, 1);
	CALL(1, io_uring_prep_write, self->fd, bytes, PAGE, PAGE);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	/* Not by what is read at an offset, be it the position. */
	CALL(2, io_uring_prep_read, reader, got, PAGE, 0);
	SUBMIT();
	EXPECT_EQ(PAGE, result_of(&self->ring, 2));
	EXPECT_EQ(PAGE, right(got, PAGE, 0, 1));
	EXPECT_TRUE(nothing_is_done(&self->ring));
	EXPECT_EQ(PAGE, right_at(reader, 0, PAGE, 1));
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(PAGE, read(reader, got, PAGE));
	EXPECT_EQ(PAGE, result_of(&self->ring, 1));
	EXPECT_EQ(PAGE, right_at(reader, PAGE, PAGE, 1));
	close(reader);
}

TEST_F(uring, a_read_at_the_position_makes_room)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_info info = {};
	int reader = open_handle(self->fd, O_RDONLY);
	char bytes[PAGE];

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(2 * PAGE, put_at(self->fd, 0, 2 * PAGE, 1));
	for (int i = 0; i < 2; i++) {
		/* By the task itself, and by a worker. */
		CALL(1, io_uring_prep_read, reader, bytes, PAGE, -1)->flags |= i ? IOSQE_ASYNC : 0;
		SUBMIT();
		EXPECT_EQ(PAGE, result_of(&self->ring, 1));
		EXPECT_EQ(PAGE, right(bytes, PAGE, i * PAGE, 1));
		for (int ms = 0; ms < 5000 && (long long)info.drained < (i + 1) * PAGE; ms++) {
			ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_GET_INFO, &info));
			sleep_ms(1);
		}
		EXPECT_EQ((i + 1) * PAGE, (long long)info.drained);
	}
	close(reader);
}

static void *put_pages(void *arg)
{
	int *fd = arg;

	for (int page = 0; page < 16; page++)
		put_at(*fd, page * PAGE, PAGE, 1);
	return NULL;
}

/* A read of a regular file goes on for more, and the position moves when it is complete. */
TEST_F(uring, reads_of_more_than_the_limit_make_room)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	struct qemufile_limit limit = { .limit = PAGE };
	int reader = open_handle(self->fd, O_RDONLY);
	char *memory = fresh_memory(4 * PAGE);
	pthread_t thread;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(0, pthread_create(&thread, NULL, put_pages, &self->fd));
	for (int done = 0, got, calls = 0; done < 16 * PAGE; done += got, calls++) {
		size_t most = 16 * PAGE - done < 4 * PAGE ? 16 * PAGE - done : 4 * PAGE;

		CALL(1, io_uring_prep_read, reader, memory, most, -1)->flags |=
			calls % 2 ? IOSQE_ASYNC : 0;
		SUBMIT();
		got = result_of(&self->ring, 1);
		ASSERT_LT(0, got);
		ASSERT_EQ(got, right(memory, got, done, 1));
		ASSERT_EQ(done + got, lseek(reader, 0, SEEK_CUR));
	}
	pthread_join(thread, NULL);
	close(reader);
}

/* ---- polls and splices ---- */

TEST_F(uring, polls_once_and_again)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct io_uring_cqe *cqe;

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_poll_add, reader, POLLIN);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(POLLIN, result_of(&self->ring, 1));
	/* Multishot: told of each write, edge-triggered. */
	ASSERT_EQ(10, lseek(reader, 10, SEEK_SET));
	CALL(2, io_uring_prep_poll_multishot, reader, POLLIN);
	SUBMIT();
	EXPECT_TRUE(nothing_is_done(&self->ring));
	for (int i = 1; i < 5; i++) {
		struct __kernel_timespec time = { .tv_sec = 5 };

		ASSERT_EQ(10, put_at(self->fd, 10 * i, 10, 1));
		ASSERT_EQ(0, io_uring_wait_cqe_timeout(&self->ring, &cqe, &time));
		EXPECT_EQ(2, cqe->user_data);
		EXPECT_EQ(POLLIN, cqe->res);
		EXPECT_TRUE(cqe->flags & IORING_CQE_F_MORE);
		io_uring_cqe_seen(&self->ring, cqe);
	}
	CALL(3, io_uring_prep_poll_remove, 2);
	SUBMIT();
	EXPECT_EQ(0, result_of(&self->ring, 3));
	close(reader);
}

TEST_F(uring, a_poll_outlives_its_descriptor)
{
	int reader = open_handle(self->fd, O_RDONLY);

	ASSERT_LE(0, reader);
	CALL(1, io_uring_prep_poll_add, reader, POLLIN);
	SUBMIT();
	ASSERT_EQ(0, close(reader));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(POLLIN, result_of(&self->ring, 1));
}

TEST_F(uring, splices)
{
	int pipe_fds[2], other = variant->open(O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	CALL(1, io_uring_prep_splice, self->fd, 0, pipe_fds[1], -1, CHUNK, 0);
	SUBMIT();
	EXPECT_EQ(CHUNK, result_of(&self->ring, 1));
	CALL(2, io_uring_prep_splice, pipe_fds[0], -1, other, 5, CHUNK, 0);
	SUBMIT();
	EXPECT_EQ(CHUNK, result_of(&self->ring, 2));
	EXPECT_EQ(CHUNK + 5, length_of(other));
	EXPECT_EQ(5, right_at(other, 0, 5, ZEROS));
	for (long long at = 0; at < CHUNK; at += PAGE) {
		char bytes[PAGE];

		ASSERT_EQ(PAGE, pread(other, bytes, PAGE, 5 + at));
		ASSERT_EQ(PAGE, right(bytes, PAGE, at, 1));
	}
	close(other);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST_F(uring, fallocate_and_fadvise)
{
	CALL(1, io_uring_prep_fallocate, self->fd, 0, 0, PAGE);
	SUBMIT();
	EXPECT_EQ(variant->open == open_device ? -ENODEV : 0, result_of(&self->ring, 1));
	CALL(2, io_uring_prep_fadvise, self->fd, 0, PAGE, POSIX_FADV_WILLNEED);
	SUBMIT();
	EXPECT_EQ(0, result_of(&self->ring, 2));
}

TEST_HARNESS_MAIN
