// SPDX-License-Identifier: GPL-2.0
/*
 * Drained streams: what is read is freed, so that a writer waits for its readers.
 * What counts as read and what does not, what a seal ends, and that nobody waits
 * for what cannot come.
 */
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "harness.h"

/* One record of GET or PEEK. */
static int typed(int fd, unsigned long call, unsigned int type, void *memory, size_t len,
		 uint64_t offset)
{
	struct qemufile_record record = {
		.type = type, .value = (uintptr_t)memory, .length = len,
	};
	struct qemufile_vector vector = {
		.records = (uintptr_t)&record, .count = 1, .offset = offset,
	};

	return ioctl(fd, call, &vector);
}

static int get_buffer(int fd, void *memory, size_t len)
{
	return typed(fd, QEMUFILE_IOC_GET, QEMUFILE_BUFFER, memory, len, 0);
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

/* ---- what is passed is freed, and makes room ---- */

TEST_F(drain, what_all_readers_have_passed_is_freed)
{
	int second = open_handle(self->writer, O_RDONLY);

	ASSERT_LE(0, second);
	ASSERT_EQ(4 * MiB, put_at(self->writer, 0, 4 * MiB, 1));
	EXPECT_EQ(3 * MiB, take(self->reader, 3 * MiB, 0, 1));
	/* The other has passed nothing. */
	EXPECT_EQ(0, info_of(self->writer).drained);
	EXPECT_EQ(4 * MiB, (long long)info_of(self->writer).allocated);
	EXPECT_EQ(2 * MiB + 5, take(second, 2 * MiB + 5, 0, 1));
	EXPECT_EQ(2 * MiB + 5, (long long)info_of(self->writer).drained);
	EXPECT_EQ(2 * MiB, (long long)info_of(self->writer).allocated);
	EXPECT_EQ(4 * MiB, length_of(self->writer));
	/* Who goes has passed everything. */
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(3 * MiB, (long long)info_of(self->writer).drained);
	EXPECT_EQ(MiB, take(self->reader, MiB, 3 * MiB, 1));
	EXPECT_EQ(0, info_of(self->writer).allocated);
	EXPECT_EQ(4 * MiB, length_of(self->writer));
}

TEST_F(drain, a_stream_of_any_length_takes_little_memory)
{
	const long long len = clock_is_coarse() ? 8 * MiB : 32 * MiB;

	for (long long pos = 0; pos < len; pos += CHUNK) {
		ASSERT_EQ(CHUNK, put_at(self->writer, pos, CHUNK, 1));
		ASSERT_EQ(CHUNK, take(self->reader, CHUNK, pos, 1));
		ASSERT_GE(CHUNK, (long long)info_of(self->writer).allocated);
	}
	EXPECT_EQ(len, length_of(self->writer));
}

TEST_F(drain, nothing_is_drained_without_the_property)
{
	int stream = variant->open(O_RDWR), reader = open_handle(stream, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(MiB, put_at(stream, 0, MiB, 1));
	EXPECT_EQ(MiB, take(reader, MiB, 0, 1));
	EXPECT_EQ(0, info_of(stream).drained);
	EXPECT_EQ(MiB, (long long)info_of(stream).allocated);
	/*
	 * It takes effect for what has been passed before. Of the last call, that shows
	 * when the reader is there again: it might have been a pread.
	 */
	EXPECT_EQ(0, set_flags(stream, QEMUFILE_STREAM_DRAIN));
	EXPECT_EQ(MiB - CHUNK, (long long)info_of(stream).drained);
	EXPECT_EQ(0, polled(reader, POLLIN));
	EXPECT_EQ(MiB, (long long)info_of(stream).drained);
	EXPECT_EQ(0, info_of(stream).allocated);
	close(reader);
	close(stream);
}

/* Who reads here and there has not passed anything. */
TEST_F(drain, pread_passes_nothing)
{
	static unsigned char bytes[PAGE];

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	EXPECT_EQ(PAGE, pread(self->reader, bytes, PAGE, CHUNK));
	EXPECT_EQ(0, info_of(self->writer).drained);
	EXPECT_EQ(MiB, take(self->reader, MiB, 0, 1));
}

TEST_F(drain, what_is_drained_is_gone_for_reading_and_writing)
{
	char byte;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK, take(self->reader, CHUNK, 0, 1));
	EXPECT_EQ(ENXIO, ERRNO_OF(pread(self->reader, &byte, 1, CHUNK - 1)));
	EXPECT_EQ(ENXIO, ERRNO_OF(pread(self->writer, &byte, 1, 0)));
	EXPECT_EQ(ENXIO, ERRNO_OF(pwrite(self->writer, "x", 1, 0)));
	EXPECT_EQ(0, fsync(self->writer));
	EXPECT_EQ(1, pread(self->reader, &byte, 1, CHUNK));
}

/* A handle that is opened later begins where there is something. */
TEST_F(drain, a_later_reader_begins_behind_what_is_drained)
{
	int later;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK + 7, take(self->reader, CHUNK + 7, 0, 1));
	later = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, later);
	EXPECT_EQ(CHUNK + 7, lseek(later, 0, SEEK_CUR));
	EXPECT_EQ(MiB - CHUNK - 7, take(later, MiB - CHUNK - 7, CHUNK + 7, 1));
	close(later);
}

struct pending_write {
	int fd;
	size_t len;
	off_t pos;
	ssize_t result;
	int error;
	atomic_int tid;
	atomic_int done;
	pthread_t thread;
};

static void *do_pending_write(void *arg)
{
	struct pending_write *call = arg;
	char *memory = fresh_memory(call->len);

	fill(memory, call->len, call->pos, 1);
	call->tid = my_tid();
	call->result = pwrite(call->fd, memory, call->len, call->pos);
	call->error = errno;
	call->done = 1;
	return NULL;
}

static bool write_waits(struct pending_write *call, int fd, size_t len, off_t pos)
{
	*call = (struct pending_write){ .fd = fd, .len = len, .pos = pos };
	return !pthread_create(&call->thread, NULL, do_pending_write, call) &&
	       is_set_within(&call->tid, 5000) && sleeps_in(call->tid, SYS_pwrite64) &&
	       !call->done;
}

static ssize_t write_result(struct pending_write *call)
{
	if (!is_set_within(&call->done, 5000))
		return -2;
	pthread_join(call->thread, NULL);
	errno = call->error;
	return call->result;
}

TEST_F(drain, a_writer_at_the_limit_waits_for_its_readers)
{
	struct pending_write call;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK, lseek(self->writer, 0, SEEK_END));
	EXPECT_EQ(0, polled(self->writer, POLLOUT));
	ASSERT_TRUE(write_waits(&call, self->writer, 3 * CHUNK, CHUNK));
	for (long long pos = 0; pos < 4 * CHUNK; pos += PAGE + 1) {
		long long len = 4 * CHUNK - pos < PAGE + 1 ? 4 * CHUNK - pos : PAGE + 1;

		ASSERT_EQ(len, take(self->reader, len, pos, 1));
		ASSERT_GE(2 * CHUNK, (long long)info_of(self->writer).allocated);
	}
	EXPECT_EQ(3 * CHUNK, write_result(&call));
	EXPECT_EQ(4 * CHUNK, length_of(self->writer));
	EXPECT_EQ(POLLOUT, polled(self->writer, POLLOUT));
	EXPECT_EQ(0, fsync(self->writer));
}

TEST_F(drain, an_atomic_writer_waits_for_all_of_the_room)
{
	char *memory = fresh_memory(CHUNK);
	struct iovec iov = { .iov_base = memory, .iov_len = CHUNK };

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(PAGE, put_at(self->writer, 0, PAGE, 1));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->writer, &iov, 1, PAGE, RWF_ATOMIC | RWF_NOWAIT)));
	EXPECT_EQ(PAGE, length_of(self->writer));
	ASSERT_EQ(PAGE, take(self->reader, PAGE, 0, 1));
	fill(memory, CHUNK, PAGE, 1);
	EXPECT_EQ(CHUNK, pwritev2(self->writer, &iov, 1, PAGE, RWF_ATOMIC | RWF_NOWAIT));
	/* There will never be room for more than the limit. */
	ASSERT_EQ(CHUNK, take(self->reader, CHUNK, PAGE, 1));
	ASSERT_EQ(0, set_limit(self->writer, CHUNK / 2));
	ASSERT_EQ(0, fcntl(self->writer, F_SETFL, O_NONBLOCK));
	EXPECT_NE(CHUNK, pwritev2(self->writer, &iov, 1, PAGE + CHUNK, RWF_ATOMIC));
	EXPECT_EQ(PAGE + CHUNK, length_of(self->writer));
}

TEST_F(drain, o_nonblock_at_the_limit_is_eagain)
{
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	char *memory = fresh_memory(2 * CHUNK);

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(0, fcntl(self->writer, F_SETFL, O_NONBLOCK));
	fill(memory, 2 * CHUNK, 0, 1);
	EXPECT_EQ(CHUNK, write(self->writer, memory, 2 * CHUNK));
	EXPECT_EQ(EAGAIN, ERRNO_OF(write(self->writer, memory, 1)));
	ASSERT_EQ(0, fcntl(self->writer, F_SETFL, 0));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(self->writer, &iov, 1, CHUNK, RWF_NOWAIT)));
	/* Nothing was lost by it. */
	EXPECT_EQ(0, fsync(self->writer));
	ASSERT_EQ(100, take(self->reader, 100, 0, 1));
	EXPECT_EQ(1, write(self->writer, memory + CHUNK, 1));
}

TEST_F(drain, poll_tells_whether_a_write_would_wait)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, epfd);
	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	EXPECT_EQ(POLLOUT, polled(self->writer, POLLOUT));
	ASSERT_EQ(CHUNK - 1, put_at(self->writer, 0, CHUNK - 1, 1));
	ASSERT_EQ(CHUNK - 1, lseek(self->writer, 0, SEEK_END));
	EXPECT_EQ(POLLOUT, polled(self->writer, POLLOUT));
	ASSERT_EQ(1, put_at(self->writer, CHUNK - 1, 1, 1));
	ASSERT_EQ(CHUNK, lseek(self->writer, 0, SEEK_END));
	EXPECT_EQ(0, polled(self->writer, POLLOUT));
	/* Edges when there is room again, and when there is no limit any more. */
	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->writer, &event));
	EXPECT_EQ(0, epoll_wait(epfd, &event, 1, 0));
	ASSERT_EQ(100, take(self->reader, 100, 0, 1));
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, 1000));
	EXPECT_EQ(EPOLLOUT, event.events);
	EXPECT_EQ(100, put_at(self->writer, CHUNK, 100, 1));
	ASSERT_EQ(CHUNK + 100, lseek(self->writer, 0, SEEK_END));
	EXPECT_EQ(0, polled(self->writer, POLLOUT));
	ASSERT_EQ(0, set_limit(self->writer, 0));
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, 1000));
	EXPECT_EQ(POLLOUT, polled(self->writer, POLLOUT));
	close(epfd);
}

TEST_F(drain, a_higher_limit_wakes_the_writer)
{
	struct pending_write call;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_TRUE(write_waits(&call, self->writer, 2 * CHUNK, 0));
	EXPECT_EQ(CHUNK, length_of(self->writer));
	ASSERT_EQ(0, set_limit(self->writer, 2 * CHUNK));
	EXPECT_EQ(2 * CHUNK, write_result(&call));
	EXPECT_EQ(2 * CHUNK, take(self->reader, 2 * CHUNK, 0, 1));
}

/* Nobody is left to make room: what was waited for will not come. */
TEST_F(drain, the_last_readers_close_wakes_the_writer)
{
	struct pending_write call;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_TRUE(write_waits(&call, self->writer, CHUNK, CHUNK));
	EXPECT_EQ(0, close(self->reader));
	EXPECT_EQ(-1, write_result(&call));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->writer)));
	EXPECT_EQ(CHUNK, length_of(self->writer));
}

TEST_F(drain, sealing_wakes_the_writer)
{
	struct pending_write call;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_TRUE(write_waits(&call, self->writer, CHUNK, CHUNK));
	EXPECT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(-1, write_result(&call));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(POLLOUT, polled(self->writer, POLLOUT));
}

TEST_F(drain, a_signal_interrupts_a_writer)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct pending_write call;

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	/* With a part written, that is the result. */
	ASSERT_TRUE(write_waits(&call, self->writer, 2 * CHUNK, 0));
	ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
	EXPECT_EQ(CHUNK, write_result(&call));
	EXPECT_EQ(CHUNK, length_of(self->writer));
	/* With nothing, it is EINTR. */
	ASSERT_TRUE(write_waits(&call, self->writer, CHUNK, CHUNK));
	ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
	EXPECT_EQ(-1, write_result(&call));
	EXPECT_EQ(EINTR, errno);
	EXPECT_EQ(0, fsync(self->writer));
	/* Or it goes on. */
	action.sa_flags = SA_RESTART;
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_TRUE(write_waits(&call, self->writer, CHUNK, CHUNK));
	ASSERT_EQ(0, pthread_kill(call.thread, SIGUSR1));
	ASSERT_TRUE(sleeps_in(call.tid, SYS_pwrite64));
	EXPECT_EQ(CHUNK, take(self->reader, CHUNK, 0, 1));
	EXPECT_EQ(CHUNK, write_result(&call));
}

TEST_F(drain, a_waiting_writer_holds_up_nobody_else)
{
	struct pending_write call;
	int other = open_handle(self->writer, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_TRUE(write_waits(&call, self->writer, CHUNK, CHUNK));
	/* Over what is there, there is room. */
	EXPECT_EQ(10, put_at(other, 100, 10, 1));
	EXPECT_EQ(CHUNK, right_at(other, 0, CHUNK, 1));
	EXPECT_EQ(CHUNK, length_of(other));
	EXPECT_EQ(0, fsync(other));
	EXPECT_EQ(CHUNK, take(self->reader, CHUNK, 0, 1));
	EXPECT_EQ(CHUNK, write_result(&call));
	close(other);
}

struct pump {
	int fd;
	long long len;
	long long done;
};

static void *pump(void *arg)
{
	struct pump *pump = arg;
	static char memory[100000];
	unsigned int seed = 1;

	pin_to(1);
	while (pump->done < pump->len) {
		long long most = 1 + draw(&seed, sizeof(memory));
		ssize_t put;

		most = most < pump->len - pump->done ? most : pump->len - pump->done;
		put = write(pump->fd, fill(memory, most, pump->done, 1), most);
		if (put <= 0)
			break;
		pump->done += put;
	}
	return NULL;
}

/* Both at once, the writer mostly waiting. */
TEST_F(drain, much_passes_through_little_memory)
{
	struct pump data = {
		.fd = self->writer, .len = clock_is_coarse() ? 4 * MiB : 16 * MiB,
	};
	pthread_t thread;
	long long done = 0;
	unsigned int seed = 2;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(0, pthread_create(&thread, NULL, pump, &data));
	pin_to(0);
	while (done < data.len) {
		long long len = 1 + draw(&seed, 50000);

		len = len < data.len - done ? len : data.len - done;
		ASSERT_EQ(len, take(self->reader, len, done, 1));
		done += len;
		ASSERT_GE(CHUNK + 2 * PAGE, (long long)info_of(self->reader).allocated);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(data.len, data.done);
}

/* ---- a writer in a thread of its own ---- */

struct writing {
	int fd;
	size_t len, each;
	off_t pos;
	atomic_int tid, over;
	long long done;
	pthread_t thread;
};

static void *do_writing(void *arg)
{
	struct writing *writing = arg;
	char *memory = fresh_memory(writing->each);

	writing->tid = my_tid();
	while (writing->done < (long long)writing->len) {
		struct iovec iov = {
			.iov_base = fill(memory, writing->each, writing->pos, 1),
			.iov_len = writing->each,
		};

		if (pwritev2(writing->fd, &iov, 1, writing->pos, RWF_ATOMIC) !=
		    (ssize_t)writing->each)
			break;
		writing->pos += writing->each;
		writing->done += writing->each;
	}
	writing->over = 1;
	return NULL;
}

/* Writes @len bytes from @pos on, @each at a time, all or nothing. */
static bool start_writing(struct writing *writing, int fd, off_t pos, size_t len, size_t each)
{
	*writing = (struct writing){ .fd = fd, .pos = pos, .len = len, .each = each };
	return !pthread_create(&writing->thread, NULL, do_writing, writing) &&
	       is_set_within(&writing->tid, 5000);
}

/* How much was written; -2 if that goes on. */
static long long written(struct writing *writing)
{
	if (!is_set_within(&writing->over, 5000))
		return -2;
	pthread_join(writing->thread, NULL);
	return writing->done;
}

static void on_alarm(int number)
{
	(void)number;
}

/* Ends what would wait for ever with EINTR, so that a test can tell. */
static void wait_at_most(int seconds)
{
	struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	alarm(seconds);
}

/* ---- what a seal ends, and what excludes draining ---- */

TEST_F(drain, a_sealed_stream_is_never_drained)
{
	int late;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK, take(self->reader, CHUNK, 0, 1));
	ASSERT_EQ(0, set_flags(self->writer, QEMUFILE_STREAM_SEALED));
	late = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, late);
	EXPECT_EQ(MiB - CHUNK, take(self->reader, MiB - CHUNK, CHUNK, 1));
	EXPECT_EQ(0, take(self->reader, 1, MiB, 1));
	EXPECT_EQ(0, close(self->reader));
	ASSERT_EQ(MiB - 1, lseek(late, MiB - 1, SEEK_SET));
	EXPECT_EQ(1, take(late, 1, MiB - 1, 1));
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

/* ---- what counts as read ---- */

TEST_F(drain, pread_at_the_position_passes_nothing)
{
	static unsigned char bytes[CHUNK];
	struct iovec iov = { .iov_base = bytes, .iov_len = CHUNK };
	loff_t pos = 0;
	int pipe_fds[2];

	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(CHUNK, pread(self->reader, bytes, CHUNK, 0));
		EXPECT_EQ(CHUNK, right(bytes, CHUNK, 0, 1));
		EXPECT_EQ(CHUNK, preadv2(self->reader, &iov, 1, 0, 0));
		/* On and on, and asked for it. */
		EXPECT_EQ(CHUNK, right_at(self->reader, CHUNK, CHUNK, 1));
		EXPECT_EQ(POLLIN, polled(self->reader, POLLIN));
	}
	pos = 0;
	EXPECT_EQ(PAGE, splice(self->reader, &pos, pipe_fds[1], NULL, PAGE, 0));
	/* Nor does looking for the end, also if it is where a pread has ended. */
	EXPECT_EQ(CHUNK, lseek(self->reader, CHUNK, SEEK_SET));
	EXPECT_EQ(POLLIN, polled(self->reader, POLLIN));
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_SET));
	EXPECT_EQ(0, drained_of(self->writer));
	/* What read takes after that is passed, and no more. */
	EXPECT_EQ(10, take(self->reader, 10, 0, 1));
	EXPECT_EQ(10, drained_of(self->writer));
	EXPECT_EQ(MiB - 10, right_at(self->reader, 10, MiB - 10, 1));
	EXPECT_EQ(10, drained_of(self->writer));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* The writer gets its room when the call returns, whatever the reader does then. */
TEST_F(drain, each_way_of_reading_frees_room_by_itself)
{
	static unsigned char bytes[PAGE];
	struct iovec iov[2] = {
		{ .iov_base = bytes, .iov_len = 10 },
		{ .iov_base = bytes + 10, .iov_len = PAGE - 10 },
	};
	struct qemufile_skip skip = { .length = PAGE };
	int pipe_fds[2], sink = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(8 * PAGE, put_at(self->writer, 0, 8 * PAGE, 1));
	EXPECT_EQ(PAGE, read(self->reader, bytes, PAGE));
	EXPECT_EQ(PAGE, drained_of(self->writer));
	EXPECT_EQ(PAGE, readv(self->reader, iov, 2));
	EXPECT_EQ(2 * PAGE, drained_of(self->writer));
	EXPECT_EQ(PAGE, preadv2(self->reader, iov, 2, -1, 0));
	EXPECT_EQ(3 * PAGE, drained_of(self->writer));
	EXPECT_EQ(PAGE, splice(self->reader, NULL, pipe_fds[1], NULL, PAGE, 0));
	EXPECT_EQ(4 * PAGE, drained_of(self->writer));
	EXPECT_EQ(PAGE, sendfile(sink, self->reader, NULL, PAGE));
	EXPECT_EQ(5 * PAGE, drained_of(self->writer));
	EXPECT_EQ(0, get_buffer(self->reader, bytes, PAGE));
	EXPECT_EQ(6 * PAGE, drained_of(self->writer));
	EXPECT_EQ(0, ioctl(self->reader, QEMUFILE_IOC_SKIP, &skip));
	EXPECT_EQ(7 * PAGE, drained_of(self->writer));
	EXPECT_EQ(PAGE, take(self->reader, PAGE, 7 * PAGE, 1));
	EXPECT_EQ(0, info_of(self->writer).allocated);
	close(sink);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST_F(drain, lseek_away_from_what_was_read_keeps_it_read)
{
	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK, take(self->reader, CHUNK, 0, 1));
	EXPECT_EQ(MiB, lseek(self->reader, 0, SEEK_END));
	EXPECT_EQ(CHUNK, drained_of(self->writer));
	EXPECT_EQ(CHUNK, lseek(self->reader, CHUNK, SEEK_SET));
	EXPECT_EQ(MiB - CHUNK, take(self->reader, MiB - CHUNK, CHUNK, 1));
}

/* splice() copies then, and sendfile() moves the position back over what it could not send. */
TEST_F(drain, what_sendfile_gives_back_with_o_direct_is_not_drained)
{
	int sockets[2];
	ssize_t sent;

	ASSERT_EQ(0, fcntl(self->reader, F_SETFL, O_DIRECT));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets));
	ASSERT_EQ(4 * MiB, put_at(self->writer, 0, 4 * MiB, 1));
	sent = sendfile(sockets[0], self->reader, NULL, 4 * MiB);
	ASSERT_LT(0, sent);
	ASSERT_GT(4 * MiB, sent);
	EXPECT_EQ(sent, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_EQ(sent, drained_of(self->writer));
	EXPECT_EQ(MiB, take(self->reader, MiB, sent, 1));
	close(sockets[0]);
	close(sockets[1]);
}

/* The target is a stream that has room for some pages and a part of one. */
TEST_F(drain, what_sendfile_gives_back_is_there_to_be_read)
{
	long long room = 10 * PAGE + 100, pos = 0;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	for (int flags = 0; flags <= O_DIRECT; flags += O_DIRECT) {
		int target = variant->open(O_RDWR);

		ASSERT_LE(0, target);
		ASSERT_EQ(0, set_limit(target, room));
		ASSERT_EQ(0, fcntl(self->reader, F_SETFL, flags));
		EXPECT_EQ(room, sendfile(target, self->reader, NULL, MiB));
		pos += room;
		EXPECT_EQ(pos, lseek(self->reader, 0, SEEK_CUR));
		EXPECT_EQ(pos, drained_of(self->writer));
		EXPECT_EQ(5 * PAGE, right_at(self->reader, pos, 5 * PAGE, 1));
		EXPECT_EQ(100, take(self->reader, 100, pos, 1));
		pos += 100;
		close(target);
	}
}

/* Of what it has, nothing is freed before it returns. */
TEST_F(drain, sendfile_returns_what_it_has_rather_than_wait)
{
	int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct writing writing;
	long long done = 0;

	ASSERT_LE(0, sink);
	for (int flags = 0; flags <= O_DIRECT; flags += O_DIRECT) {
		ASSERT_EQ(0, fcntl(self->reader, F_SETFL, flags));
		ASSERT_EQ(0, set_limit(self->writer, CHUNK));
		ASSERT_TRUE(start_writing(&writing, self->writer, done, 12 * 12 * PAGE, 12 * PAGE));
		wait_at_most(10);
		for (long long sent = 0; sent < 12 * 12 * PAGE; ) {
			ssize_t now = sendfile(sink, self->reader, NULL, MiB);

			ASSERT_LT(0, now);
			ASSERT_GE(CHUNK, now);
			sent += now;
			done += now;
		}
		alarm(0);
		EXPECT_EQ(12 * 12 * PAGE, written(&writing));
		EXPECT_EQ(done, drained_of(self->writer));
	}
	close(sink);
}

/* ---- typed calls and the limit ---- */

TEST_F(drain, get_after_a_leap_makes_room)
{
	unsigned char bytes[PAGE];
	struct writing writing;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_TRUE(start_writing(&writing, self->writer, CHUNK, PAGE, PAGE));
	ASSERT_EQ(CHUNK, lseek(self->reader, 0, SEEK_END));
	wait_at_most(3);
	EXPECT_EQ(0, get_buffer(self->reader, bytes, PAGE));
	EXPECT_EQ(PAGE, right(bytes, PAGE, CHUNK, 1));
	EXPECT_EQ(PAGE, written(&writing));
	alarm(0);
}

TEST_F(drain, get_and_skip_of_more_than_the_limit_make_room_as_they_go)
{
	char *memory = fresh_memory(2 * CHUNK);
	struct qemufile_skip skip = { .length = 2 * CHUNK };
	struct writing writing;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_TRUE(start_writing(&writing, self->writer, 0, 4 * CHUNK, PAGE));
	wait_at_most(3);
	EXPECT_EQ(0, get_buffer(self->reader, memory, 2 * CHUNK));
	EXPECT_EQ(2 * CHUNK, right(memory, 2 * CHUNK, 0, 1));
	EXPECT_EQ(2 * CHUNK, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_EQ(0, ioctl(self->reader, QEMUFILE_IOC_SKIP, &skip));
	EXPECT_EQ(2 * CHUNK, (long long)skip.length);
	EXPECT_EQ(4 * CHUNK, written(&writing));
	alarm(0);
}

TEST_F(drain, peek_makes_room_before_the_position)
{
	unsigned char bytes[PAGE];
	struct writing writing;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(CHUNK, put_at(self->writer, 0, CHUNK, 1));
	ASSERT_TRUE(start_writing(&writing, self->writer, CHUNK, PAGE, PAGE));
	ASSERT_EQ(CHUNK, lseek(self->reader, 0, SEEK_END));
	wait_at_most(3);
	EXPECT_EQ(0, typed(self->reader, QEMUFILE_IOC_PEEK, QEMUFILE_BUFFER, bytes, PAGE, 0));
	EXPECT_EQ(PAGE, right(bytes, PAGE, CHUNK, 1));
	EXPECT_EQ(PAGE, written(&writing));
	alarm(0);
	EXPECT_EQ(CHUNK, drained_of(self->writer));
}

/* The writer cannot write there before the handle has moved on, which waits for it. */
TEST_F(drain, what_the_limit_keeps_from_coming_is_enobufs)
{
	unsigned char bytes[8] = "";
	struct qemufile_error error = { .error = 1 };

	ASSERT_EQ(0, set_limit(self->writer, 4));
	ASSERT_EQ(4, put_at(self->writer, 0, 4, 1));
	wait_at_most(3);
	EXPECT_EQ(ENOBUFS, ERRNO_OF(typed(self->reader, QEMUFILE_IOC_GET, QEMUFILE_BE64, NULL, 0, 0)));
	EXPECT_EQ(ENOBUFS, ERRNO_OF(typed(self->reader, QEMUFILE_IOC_PEEK, QEMUFILE_BYTE, NULL, 0, 4)));
	EXPECT_EQ(ENOBUFS, ERRNO_OF(typed(self->reader, QEMUFILE_IOC_PEEK, QEMUFILE_BUFFER, bytes, 8, 0)));
	EXPECT_EQ(4, right(bytes, 4, 0, 1));
	EXPECT_EQ(ENOBUFS, ERRNO_OF(pread(self->reader, bytes, 1, 4)));
	/* Nothing is latched, and nothing was moved. */
	ASSERT_EQ(0, ioctl(self->reader, QEMUFILE_IOC_GET_ERROR, &error));
	EXPECT_EQ(0, error.error);
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_EQ(0, drained_of(self->writer));
	EXPECT_EQ(0, typed(self->reader, QEMUFILE_IOC_GET, QEMUFILE_BE32, NULL, 0, 0));
	EXPECT_EQ(4, drained_of(self->writer));
	/* With room for it, it is waited for: here, until nobody can write. */
	ASSERT_EQ(0, set_limit(self->writer, 8));
	ASSERT_EQ(0, fcntl(self->reader, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(EAGAIN, ERRNO_OF(typed(self->reader, QEMUFILE_IOC_GET, QEMUFILE_BE64, NULL, 0, 0)));
	alarm(0);
}

/* ---- memory, time ---- */

static void *reserve(void *arg)
{
	int *fd = arg;

	fallocate(*fd, FALLOC_FL_KEEP_SIZE, 0, 128 * MiB);
	return NULL;
}

TEST_F(drain, what_is_reserved_behind_it_is_freed)
{
	int file = open_handle(self->writer, O_RDWR);
	pthread_t thread;
	char byte;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 128 * MiB));
	ASSERT_EQ(128 * MiB - 1, lseek(self->reader, -1, SEEK_END));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reserve, &file));
	for (int i = 0; i < 100000 && info_of(file).allocated < 4 * MiB; i++)
		sched_yield();
	EXPECT_EQ(1, read(self->reader, &byte, 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(128 * MiB, drained_of(file));
	EXPECT_GE(PAGE, (long long)info_of(file).allocated);
	close(file);
}

/* sendfile lends more than a full socket takes, and moves the position back. */
TEST_F(drain, what_sendfile_gives_back_is_not_drained)
{
	int sockets[2];
	char bytes[100];
	ssize_t sent;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets));
	ASSERT_EQ(4 * MiB, put_at(self->writer, 0, 4 * MiB, 1));
	sent = sendfile(sockets[0], self->reader, NULL, 4 * MiB);
	ASSERT_LT(0, sent);
	ASSERT_GT(4 * MiB, sent);
	EXPECT_EQ(sent, lseek(self->reader, 0, SEEK_CUR));
	EXPECT_GE(sent, drained_of(self->writer));
	ASSERT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, sent, 1));
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(drain, looking_for_the_end_drains_nothing)
{
	char bytes[100];

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	EXPECT_EQ(MiB, lseek(self->reader, 0, SEEK_END));
	EXPECT_EQ(0, polled(self->reader, POLLIN));
	EXPECT_EQ(0, lseek(self->reader, 0, SEEK_SET));
	EXPECT_EQ(100, pread(self->reader, bytes, 100, MiB / 2));
	EXPECT_EQ(0, drained_of(self->writer));
	ASSERT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
	/* Reading there is another matter. */
	EXPECT_EQ(MiB / 2, lseek(self->reader, MiB / 2, SEEK_SET));
	EXPECT_EQ(100, read(self->reader, bytes, 100));
	EXPECT_EQ(MiB / 2 + 100, drained_of(self->writer));
	EXPECT_EQ(ENXIO, ERRNO_OF(pread(self->reader, bytes, 100, 0)));
}

TEST_F(drain, what_is_drained_is_not_cloned_as_zeros)
{
	int file = open_handle(self->writer, O_RDWR), other = open_file(O_RDWR);
	char bytes[PAGE];

	ASSERT_LE(0, file);
	ASSERT_LE(0, other);
	ASSERT_EQ(4 * PAGE, put_at(self->writer, 0, 4 * PAGE, 1));
	ASSERT_EQ(PAGE, read(self->reader, bytes, PAGE));
	EXPECT_EQ(ENXIO, ERRNO_OF(ioctl(other, _IOW(0x94, 9, int), file)));
	EXPECT_EQ(0, length_of(other));
	close(file);
	close(other);
}

TEST_F(drain, an_atomic_write_above_the_limit_does_not_wait)
{
	char bytes[2 * PAGE] = "";
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };

	ASSERT_EQ(0, set_limit(self->writer, PAGE));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->writer, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(0, length_of(self->writer));
}

TEST_HARNESS_MAIN
