// SPDX-License-Identifier: GPL-2.0
/*
 * QEMUFILE_IOC_SET_LIMIT and SET_FLAGS: the most that a stream may hold, streams
 * that are only appended to, sealed ones, and those that are drained as they are
 * read, so that a writer waits for its readers.
 */
#include "harness.h"

STREAM_FIXTURE(limit)

static struct qemufile_info info_of(int fd)
{
	struct qemufile_info info = {};

	if (ioctl(fd, QEMUFILE_IOC_GET_INFO, &info))
		memset(&info, 0xee, sizeof(info));
	return info;
}

static int set_limit(int fd, uint64_t limit)
{
	struct qemufile_limit request = { .limit = limit };

	return ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &request);
}

static int set_flags(int fd, unsigned int set)
{
	struct qemufile_flags request = { .set = set };

	return ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &request);
}

static int set_length(int fd, uint64_t len)
{
	struct qemufile_length length = { .length = len };

	return ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length);
}

static int punch(int fd, uint64_t start, uint64_t len)
{
	struct qemufile_range range = { .start = start, .length = len };

	return ioctl(fd, QEMUFILE_IOC_PUNCH, &range);
}

/* ---- SET_LIMIT ---- */

TEST_F(limit, a_write_past_it_is_short_and_then_enospc)
{
	char *memory = fresh_memory(2 * MiB);

	ASSERT_EQ(0, set_limit(self->fd, MiB + 5));
	EXPECT_EQ(MiB + 5, (long long)info_of(self->fd).limit);
	fill(memory, 2 * MiB, 0, 1);
	EXPECT_EQ(MiB + 5, write(self->fd, memory, 2 * MiB));
	EXPECT_EQ(MiB + 5, length_of(self->fd));
	EXPECT_EQ(MiB + 5, right_at(self->fd, 0, MiB + 5, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(write(self->fd, memory, 1)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(self->fd, memory, 1, TiB)));
	EXPECT_EQ(0, write(self->fd, memory, 0));
	EXPECT_EQ(MiB + 5, lseek(self->fd, 0, SEEK_CUR));
	/* What is there can be written over. */
	EXPECT_EQ(100, put_at(self->fd, MiB - 95, 100, 2));
	EXPECT_EQ(50, pwrite(self->fd, memory, 100, MiB - 45));
	/* It is latched, and it is not waited for. */
	EXPECT_EQ(POLL_WRITE | POLLERR, polled(self->fd, POLL_WRITE));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->fd)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(close(self->fd)));
}

TEST_F(limit, a_short_write_latches_enospc)
{
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(10, write(self->fd, "0123456789abc", 13));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->fd)));
}

TEST_F(limit, an_atomic_write_past_it_is_enospc)
{
	char *memory = fresh_memory(2 * MiB);
	struct iovec iov = { .iov_base = memory, .iov_len = 1001 };

	ASSERT_EQ(500, put_at(self->fd, 0, 500, 1));
	ASSERT_EQ(0, set_limit(self->fd, 1000));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(self->fd, &iov, 1, -1, RWF_ATOMIC | RWF_APPEND)));
	EXPECT_EQ(500, length_of(self->fd));
	EXPECT_EQ(500, right_at(self->fd, 0, 500, 1));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	iov.iov_len = 1000;
	EXPECT_EQ(1000, pwritev2(self->fd, &iov, 1, 0, RWF_ATOMIC));
}

TEST_F(limit, a_length_past_it_is_enospc)
{
	ASSERT_EQ(0, set_limit(self->fd, 1000));
	EXPECT_EQ(0, set_length(self->fd, 1000));
	EXPECT_EQ(ENOSPC, ERRNO_OF(set_length(self->fd, 1001)));
	EXPECT_EQ(1000, length_of(self->fd));
	EXPECT_EQ(0, set_length(self->fd, 5));
}

TEST_F(limit, one_below_what_there_is_keeps_it)
{
	ASSERT_EQ(1000, put_at(self->fd, 0, 1000, 1));
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(1000, right_at(self->fd, 0, 1000, 1));
	EXPECT_EQ(1000, put_at(self->fd, 0, 1000, 2));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(self->fd, "x", 1, 1000)));
	ASSERT_EQ(0, set_length(self->fd, 5));
	EXPECT_EQ(5, pwrite(self->fd, "0123456789", 10, 5));
	EXPECT_EQ(10, length_of(self->fd));
}

TEST_F(limit, zero_is_none)
{
	ASSERT_EQ(0, set_limit(self->fd, 10));
	ASSERT_EQ(0, set_limit(self->fd, 0));
	EXPECT_EQ(0, info_of(self->fd).limit);
	EXPECT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	ASSERT_EQ(0, set_limit(self->fd, ~0ULL));
	EXPECT_EQ(MiB, put_at(self->fd, TiB, MiB, 1));
}

TEST_F(limit, holds_for_all_handles)
{
	int other = open_handle(self->fd, O_RDWR), again;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, set_limit(self->fd, 10));
	EXPECT_EQ(10, write(other, "0123456789abc", 13));
	EXPECT_EQ(10, info_of(other).limit);
	again = open_handle(other, O_RDWR);
	ASSERT_LE(0, again);
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(again, "x", 1, 10)));
	close(again);
	close(other);
}

/* ---- append only ---- */

TEST_F(limit, append_only_allows_nothing_but_appending)
{
	char bytes[100];

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND, info_of(self->fd).stream_flags);
	EXPECT_EQ(EPERM, ERRNO_OF(write(self->fd, "x", 1)));
	EXPECT_EQ(EPERM, ERRNO_OF(pwrite(self->fd, "x", 1, 99)));
	EXPECT_EQ(EPERM, ERRNO_OF(set_length(self->fd, 99)));
	EXPECT_EQ(EPERM, ERRNO_OF(punch(self->fd, 0, 10)));
	EXPECT_EQ(100, pwrite(self->fd, fill(bytes, 100, 100, 1), 100, 100));
	EXPECT_EQ(0, fcntl(self->fd, F_SETFL, O_APPEND));
	EXPECT_EQ(100, write(self->fd, fill(bytes, 100, 200, 1), 100));
	EXPECT_EQ(300, right_at(self->fd, 0, 300, 1));
	/* Past the end is not before it. */
	EXPECT_EQ(0, set_length(self->fd, 400));
	EXPECT_EQ(400, length_of(self->fd));
	/* None of it was anything that had to be in the stream. */
	EXPECT_EQ(0, fsync(self->fd));
}

TEST_F(limit, properties_are_never_cleared)
{
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_APPEND));
	ASSERT_EQ(0, set_flags(self->fd, 0));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND, info_of(self->fd).stream_flags);
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
	EXPECT_EQ(QEMUFILE_STREAM_APPEND | QEMUFILE_STREAM_SEALED,
		  info_of(self->fd).stream_flags);
}

TEST_F(limit, unknown_properties_are_einval)
{
	for (int bit = 4; bit < 32; bit++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(set_flags(self->fd, 1U << bit)));
		EXPECT_EQ(EINVAL, ERRNO_OF(set_flags(self->fd, 1U << bit | 1)));
	}
	EXPECT_EQ(0, info_of(self->fd).stream_flags);
}

/* ---- sealed ---- */

TEST_F(limit, sealed_allows_no_change_by_anybody)
{
	int other = open_handle(self->fd, O_RDWR), later;
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	char byte;

	ASSERT_LE(0, other);
	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(other, QEMUFILE_STREAM_SEALED));
	later = open_handle(self->fd, O_RDWR);
	ASSERT_LE(0, later);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? self->fd : i == 1 ? other : later;

		EXPECT_EQ(EPERM, ERRNO_OF(write(fd, "x", 1)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwrite(fd, "x", 1, 100)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_ATOMIC)));
		EXPECT_EQ(EPERM, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_APPEND)));
		EXPECT_EQ(EPERM, ERRNO_OF(set_length(fd, 0)));
		EXPECT_EQ(EPERM, ERRNO_OF(set_length(fd, 1000)));
		EXPECT_EQ(EPERM, ERRNO_OF(punch(fd, 0, 10)));
		EXPECT_EQ(0, write(fd, "x", 0));
		EXPECT_EQ(100, right_at(fd, 0, 100, 1));
		/* The end is the end, though there are writers. */
		EXPECT_EQ(0, pread(fd, &byte, 1, 100));
		EXPECT_EQ(0, fsync(fd));
	}
	EXPECT_EQ(EPERM, ERRNO_OF(ftruncate(other, 0)));
	EXPECT_EQ(EPERM, ERRNO_OF(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1)));
	close(later);
	close(other);
}

TEST_F(limit, a_clone_of_a_sealed_stream_is_not_sealed)
{
	int copy;

	ASSERT_EQ(100, put_at(self->fd, 0, 100, 1));
	ASSERT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED | QEMUFILE_STREAM_APPEND));
	copy = open_clone(self->fd, O_RDWR);
	ASSERT_LE(0, copy);
	EXPECT_EQ(0, info_of(copy).stream_flags);
	EXPECT_EQ(100, put_at(copy, 0, 100, 2));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	close(copy);
}

/* ---- drained ---- */

FIXTURE(drain) {
	int writer;
	int reader;
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

/* Reads @len bytes and says how many are right. */
static long long take(int fd, long long pos, long long len)
{
	static unsigned char bytes[1 << 16];
	long long done = 0;

	while (done < len) {
		size_t most = len - done < (long long)sizeof(bytes) ? len - done : (long long)sizeof(bytes);
		ssize_t got = read(fd, bytes, most);

		if (got <= 0 || right(bytes, got, pos + done, 1) != got)
			break;
		done += got;
	}
	return done;
}

TEST_F(drain, what_all_readers_have_passed_is_freed)
{
	int second = open_handle(self->writer, O_RDONLY);

	ASSERT_LE(0, second);
	ASSERT_EQ(4 * MiB, put_at(self->writer, 0, 4 * MiB, 1));
	EXPECT_EQ(3 * MiB, take(self->reader, 0, 3 * MiB));
	/* The other has passed nothing. */
	EXPECT_EQ(0, info_of(self->writer).drained);
	EXPECT_EQ(4 * MiB, (long long)info_of(self->writer).allocated);
	EXPECT_EQ(2 * MiB + 5, take(second, 0, 2 * MiB + 5));
	EXPECT_EQ(2 * MiB + 5, (long long)info_of(self->writer).drained);
	EXPECT_EQ(2 * MiB, (long long)info_of(self->writer).allocated);
	EXPECT_EQ(4 * MiB, length_of(self->writer));
	/* Who goes has passed everything. */
	EXPECT_EQ(0, close(second));
	EXPECT_EQ(3 * MiB, (long long)info_of(self->writer).drained);
	EXPECT_EQ(MiB, take(self->reader, 3 * MiB, MiB));
	EXPECT_EQ(0, info_of(self->writer).allocated);
	EXPECT_EQ(4 * MiB, length_of(self->writer));
}

TEST_F(drain, a_stream_of_any_length_takes_little_memory)
{
	for (long long pos = 0; pos < 32 * MiB; pos += CHUNK) {
		ASSERT_EQ(CHUNK, put_at(self->writer, pos, CHUNK, 1));
		ASSERT_EQ(CHUNK, take(self->reader, pos, CHUNK));
		ASSERT_GE(CHUNK, (long long)info_of(self->writer).allocated);
	}
	EXPECT_EQ(32 * MiB, length_of(self->writer));
}

TEST_F(drain, nothing_is_drained_without_the_property)
{
	int stream = variant->open(O_RDWR), reader = open_handle(stream, O_RDONLY);

	ASSERT_LE(0, reader);
	ASSERT_EQ(MiB, put_at(stream, 0, MiB, 1));
	EXPECT_EQ(MiB, take(reader, 0, MiB));
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
	EXPECT_EQ(MiB, take(self->reader, 0, MiB));
}

TEST_F(drain, what_is_drained_is_gone_for_reading_and_writing)
{
	char byte;

	ASSERT_EQ(MiB, put_at(self->writer, 0, MiB, 1));
	ASSERT_EQ(CHUNK, take(self->reader, 0, CHUNK));
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
	ASSERT_EQ(CHUNK + 7, take(self->reader, 0, CHUNK + 7));
	later = open_handle(self->writer, O_RDONLY);
	ASSERT_LE(0, later);
	EXPECT_EQ(CHUNK + 7, lseek(later, 0, SEEK_CUR));
	EXPECT_EQ(MiB - CHUNK - 7, take(later, CHUNK + 7, MiB - CHUNK - 7));
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

		ASSERT_EQ(len, take(self->reader, pos, len));
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
	ASSERT_EQ(PAGE, take(self->reader, 0, PAGE));
	fill(memory, CHUNK, PAGE, 1);
	EXPECT_EQ(CHUNK, pwritev2(self->writer, &iov, 1, PAGE, RWF_ATOMIC | RWF_NOWAIT));
	/* There will never be room for more than the limit. */
	ASSERT_EQ(CHUNK, take(self->reader, PAGE, CHUNK));
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
	ASSERT_EQ(100, take(self->reader, 0, 100));
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
	ASSERT_EQ(100, take(self->reader, 0, 100));
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
	EXPECT_EQ(2 * CHUNK, take(self->reader, 0, 2 * CHUNK));
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

static void on_signal(int number)
{
	(void)number;
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
	EXPECT_EQ(CHUNK, take(self->reader, 0, CHUNK));
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
	EXPECT_EQ(CHUNK, take(self->reader, 0, CHUNK));
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
	struct pump data = { .fd = self->writer, .len = 16 * MiB };
	pthread_t thread;
	long long done = 0;
	unsigned int seed = 2;

	ASSERT_EQ(0, set_limit(self->writer, CHUNK));
	ASSERT_EQ(0, pthread_create(&thread, NULL, pump, &data));
	pin_to(0);
	while (done < data.len) {
		long long len = 1 + draw(&seed, 50000);

		len = len < data.len - done ? len : data.len - done;
		ASSERT_EQ(len, take(self->reader, done, len));
		done += len;
		ASSERT_GE(CHUNK + 2 * PAGE, (long long)info_of(self->reader).allocated);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(data.len, data.done);
}

TEST_HARNESS_MAIN
