// SPDX-License-Identifier: GPL-2.0
/* io_submit(2): reads, writes and syncs that are given up and collected later. */
#include <linux/aio_abi.h>

#include "harness.h"

FIXTURE(aio) {
	int fd;
	aio_context_t context;
};

FIXTURE_VARIANT(aio) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(aio, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(aio, file) {
	.open = open_file,
};

FIXTURE_SETUP(aio)
{
	if (syscall(SYS_io_setup, 64, &self->context))
		SKIP(return, "no CONFIG_AIO");
	self->fd = variant->open(O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(aio)
{
	close(self->fd);
	syscall(SYS_io_destroy, self->context);
}

/* Submits one call; 0, or the errno with which that failed. */
static int submit(aio_context_t context, struct iocb *call)
{
	struct iocb *calls[] = { call };

	return syscall(SYS_io_submit, context, 1L, calls) == 1 ? 0 : errno;
}

/* The result of the next call that is done; LLONG_MIN if none is in 5 s. */
static long long result_of(aio_context_t context)
{
	struct timespec time = { .tv_sec = 5 };
	struct io_event event = {};

#ifdef __NR_io_pgetevents_time64
	int count = syscall(__NR_io_pgetevents_time64, context, 1L, 1L, &event,
			    &(long long[2]){ time.tv_sec, 0 }, NULL);
#else
	int count = syscall(SYS_io_getevents, context, 1L, 1L, &event, &time);
#endif

	return count == 1 ? event.res : LLONG_MIN;
}

static struct iocb request(int opcode, int fd, void *memory, size_t len, off_t pos)
{
	return (struct iocb){
		.aio_lio_opcode = opcode, .aio_fildes = fd, .aio_buf = (uintptr_t)memory,
		.aio_nbytes = len, .aio_offset = pos,
	};
}

TEST_F(aio, writes_and_reads)
{
	char *memory = fresh_memory(MiB);
	struct iocb call;

	fill(memory, MiB, 5, 1);
	call = request(IOCB_CMD_PWRITE, self->fd, memory, MiB, 5);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(MiB, result_of(self->context));
	EXPECT_EQ(MiB, right_at(self->fd, 5, MiB, 1));
	memset(memory, 0, MiB);
	call = request(IOCB_CMD_PREAD, self->fd, memory, MiB, 5);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(MiB, result_of(self->context));
	EXPECT_EQ(MiB, right(memory, MiB, 5, 1));
	call = request(IOCB_CMD_PREAD, self->fd, memory, MiB, MiB + 5);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(0, result_of(self->context));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(aio, vectors)
{
	static char bytes[3][1000];
	struct iovec iov[3];
	struct iocb call;

	for (int i = 0; i < 3; i++) {
		fill(bytes[i], 1000, 1000 * i, 1);
		iov[i] = (struct iovec){ .iov_base = bytes[i], .iov_len = 1000 };
	}
	call = request(IOCB_CMD_PWRITEV, self->fd, iov, 3, 0);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(3000, result_of(self->context));
	memset(bytes, 0, sizeof(bytes));
	call = request(IOCB_CMD_PREADV, self->fd, iov, 3, 0);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(3000, result_of(self->context));
	EXPECT_EQ(3000, right(bytes, 3000, 0, 1));
}

TEST_F(aio, many_at_once)
{
	enum { COUNT = 50 };
	static char bytes[COUNT][5000];
	struct iocb calls[COUNT], *list[COUNT];

	for (int i = 0; i < COUNT; i++) {
		fill(bytes[i], 5000, 5000 * i, 1);
		calls[i] = request(IOCB_CMD_PWRITE, self->fd, bytes[i], 5000, 5000 * i);
		list[i] = &calls[i];
	}
	ASSERT_EQ(COUNT, syscall(SYS_io_submit, self->context, (long)COUNT, list));
	for (int i = 0; i < COUNT; i++) {
		EXPECT_EQ(5000, result_of(self->context));
	}
	EXPECT_EQ(5000 * COUNT, right_at(self->fd, 0, 5000 * COUNT, 1));
}

TEST_F(aio, flags)
{
	char bytes[100];
	struct iocb call;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	fill(bytes, 100, 100, 1);
	call = request(IOCB_CMD_PWRITE, self->fd, bytes, 100, 0);
	call.aio_rw_flags = RWF_APPEND;
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(100, result_of(self->context));
	EXPECT_EQ(200, right_at(self->fd, 0, 200, 1));
	call.aio_rw_flags = RWF_ATOMIC | RWF_NOWAIT | RWF_DSYNC;
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(100, result_of(self->context));
	call.aio_rw_flags = 1 << 30;
	EXPECT_EQ(EOPNOTSUPP, submit(self->context, &call));
}

TEST_F(aio, errors)
{
	int reader = variant->open(O_RDONLY);
	char bytes[100] = {};
	struct iocb call;

	ASSERT_LE(0, reader);
	call = request(IOCB_CMD_PWRITE, reader, bytes, 100, 0);
	EXPECT_EQ(EBADF, submit(self->context, &call));
	call = request(IOCB_CMD_PWRITE, self->fd, nowhere(), 100, 0);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(-EFAULT, result_of(self->context));
	call = request(IOCB_CMD_PREAD, self->fd, bytes, 100, -5);
	EXPECT_EQ(EINVAL, submit(self->context, &call));
	close(reader);
}

TEST_F(aio, syncs_report_the_latched_error)
{
	struct iovec iov[2] = {
		{ .iov_base = "half", .iov_len = 4 },
		{ .iov_base = nowhere(), .iov_len = 4 },
	};
	struct iocb call = request(IOCB_CMD_FSYNC, self->fd, NULL, 0, 0);

	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(0, result_of(self->context));
	ASSERT_EQ(4, writev(self->fd, iov, 2));
	call = request(IOCB_CMD_FDSYNC, self->fd, NULL, 0, 0);
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(-EFAULT, result_of(self->context));
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(0, result_of(self->context));
}

TEST_F(aio, polls)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct iocb call = request(IOCB_CMD_POLL, reader, NULL, 0, 0);
	struct io_event event;
	struct timespec none = {};

	ASSERT_LE(0, reader);
	call.aio_buf = POLLIN;
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(0, syscall(SYS_io_getevents, self->context, 0L, 1L, &event, &none));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(POLLIN, result_of(self->context) & POLLIN);
	close(reader);
}

TEST_F(aio, a_poll_can_be_cancelled)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct iocb call = request(IOCB_CMD_POLL, reader, NULL, 0, 0);
	struct io_event event;

	ASSERT_LE(0, reader);
	call.aio_buf = POLLIN;
	ASSERT_EQ(0, submit(self->context, &call));
	EXPECT_EQ(EINPROGRESS, ERRNO_OF(syscall(SYS_io_cancel, self->context, &call, &event)));
	EXPECT_EQ(0, result_of(self->context));
	EXPECT_EQ(EINVAL, ERRNO_OF(syscall(SYS_io_cancel, self->context, &call, &event)));
	close(reader);
}

/* ---- reads that wait ---- */

struct pending_submit {
	aio_context_t context;
	struct iocb call;
	int error;
	atomic_int tid;
	pthread_t thread;
};

static void *do_pending_submit(void *arg)
{
	struct pending_submit *pending = arg;

	pending->tid = my_tid();
	pending->error = submit(pending->context, &pending->call);
	return NULL;
}

/* Submits a call in a thread of its own, and says whether it waits there. */
static bool submit_waits(struct pending_submit *pending)
{
	return !pthread_create(&pending->thread, NULL, do_pending_submit, pending) &&
	       is_set_within(&pending->tid, 5000) && sleeps_in(pending->tid, SYS_io_submit);
}

/* As it is with pipes. What is to be queued before its data exists is a poll. */
TEST_F(aio, a_read_that_waits_does_so_in_io_submit)
{
	struct sigaction action = { .sa_handler = on_signal };
	int reader = open_handle(self->fd, O_RDONLY);
	struct pending_submit pending;
	char bytes[100];

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	for (int is_interrupted = 0; is_interrupted <= 1; is_interrupted++) {
		pending = (struct pending_submit){ .context = self->context };
		pending.call = request(IOCB_CMD_PREAD, reader, bytes, 100, 10 * is_interrupted);
		ASSERT_TRUE(submit_waits(&pending));
		if (is_interrupted) {
			ASSERT_EQ(0, pthread_kill(pending.thread, SIGUSR1));
		} else {
			ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
		}
		pthread_join(pending.thread, NULL);
		EXPECT_EQ(0, pending.error);
		EXPECT_EQ(is_interrupted ? -EINTR : 10, result_of(self->context));
	}
	EXPECT_EQ(10, right(bytes, 10, 0, 1));
	/* Unless it is told not to. */
	pending.call = request(IOCB_CMD_PREAD, reader, bytes, 100, 10);
	pending.call.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(0, submit(self->context, &pending.call));
	EXPECT_EQ(-EAGAIN, result_of(self->context));
	close(reader);
}

/* The last descriptor is closed while calls are under way. */
TEST_F(aio, outlives_its_descriptor)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct iocb call = request(IOCB_CMD_POLL, reader, NULL, 0, 0);

	ASSERT_LE(0, reader);
	call.aio_buf = POLLIN;
	ASSERT_EQ(0, submit(self->context, &call));
	ASSERT_EQ(0, close(reader));
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	EXPECT_EQ(POLLIN, result_of(self->context) & POLLIN);
}

TEST_HARNESS_MAIN
