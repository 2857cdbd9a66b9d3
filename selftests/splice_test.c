// SPDX-License-Identifier: GPL-2.0
/*
 * splice(2), sendfile(2), tee(2), vmsplice(2): a stream's pages are lent to pipes
 * and sockets, and what they hold then never changes; pages that come out of a
 * pipe become the stream's, or are copied: the bytes are the same.
 */
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "harness.h"

FIXTURE(splice) {
	int fd;
	int in;		/* the pipe's end to put into */
	int out;	/* and the one to take out of */
};

FIXTURE_VARIANT(splice) {
	int (*open)(int flags);
};

FIXTURE_VARIANT_ADD(splice, device) {
	.open = open_device,
};

FIXTURE_VARIANT_ADD(splice, file) {
	.open = open_file,
};

#define PIPE_SIZE MiB

FIXTURE_SETUP(splice)
{
	int pipe_fds[2];

	self->fd = variant->open(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
	self->out = pipe_fds[0];
	self->in = pipe_fds[1];
	ASSERT_LE(PIPE_SIZE, fcntl(self->in, F_SETPIPE_SZ, PIPE_SIZE));
}

FIXTURE_TEARDOWN(splice)
{
	close(self->fd);
	close(self->in);
	close(self->out);
}

/* ---- out of the stream ---- */

TEST_F(splice, out_of_a_stream_gives_its_bytes)
{
	const long long starts[] = { 0, 1, 100, PAGE - 1, PAGE, CHUNK + 3, NODE - 1 };
	const long long lens[] = { 1, 10, PAGE, PAGE + 1, CHUNK, CHUNK + 7, NODE + 1 };

	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			loff_t pos = starts[i];

			ASSERT_EQ(lens[j], splice(self->fd, &pos, self->in, NULL, lens[j], 0))
				TH_LOG("%lld at %lld: %m", lens[j], starts[i]);
			ASSERT_EQ(starts[i] + lens[j], pos);
			ASSERT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
			ASSERT_EQ(lens[j], take(self->out, lens[j], starts[i], 1));
		}
	}
}

TEST_F(splice, out_of_a_stream_moves_the_position)
{
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(100, splice(self->fd, NULL, self->in, NULL, 100, 0));
	EXPECT_EQ(110, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(CHUNK - 110, splice(self->fd, NULL, self->in, NULL, MiB, 0));
	EXPECT_EQ(CHUNK, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(CHUNK - 10, take(self->out, CHUNK - 10, 10, 1));
	/* The end. */
	EXPECT_EQ(0, splice(self->fd, NULL, self->in, NULL, 100, 0));
	EXPECT_EQ(CHUNK, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(splice, out_of_a_hole_is_zeros)
{
	loff_t pos = 0;

	ASSERT_EQ(5, put_at(self->fd, 3 * PAGE + 7, 5, 1));
	EXPECT_EQ(3 * PAGE + 12, splice(self->fd, &pos, self->in, NULL, MiB, 0));
	EXPECT_EQ(3 * PAGE + 7, take(self->out, 3 * PAGE + 7, 0, ZEROS));
	EXPECT_EQ(5, take(self->out, 5, 3 * PAGE + 7, 1));
}

TEST_F(splice, a_small_pipe_takes_what_it_can)
{
	loff_t pos = 100;
	ssize_t got;

	ASSERT_EQ(PAGE, fcntl(self->in, F_SETPIPE_SZ, PAGE));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	while (pos < CHUNK) {
		loff_t start = pos;

		got = splice(self->fd, &pos, self->in, NULL, CHUNK, SPLICE_F_NONBLOCK);
		ASSERT_LT(0, got);
		ASSERT_GE(PAGE, got);
		ASSERT_EQ(start + got, pos);
		ASSERT_EQ(EAGAIN, ERRNO_OF(splice(self->fd, &pos, self->in, NULL, 1,
						  SPLICE_F_NONBLOCK)));
		ASSERT_EQ(got, take(self->out, got, start, 1));
	}
}

/* A write copies what was lent; so does everything else that changes bytes. */
TEST_F(splice, what_was_lent_never_changes)
{
	for (int way = 0; way < 6; way++) {
		struct qemufile_length length = { .length = PAGE + 5 };
		struct qemufile_range range = { .start = 100, .length = CHUNK };
		struct iovec iov = { .iov_base = fresh_memory(CHUNK), .iov_len = CHUNK };
		int fd = variant->open(O_RDWR), file;
		loff_t pos = 0;

		ASSERT_LE(0, fd);
		ASSERT_EQ(CHUNK, put_at(fd, 0, CHUNK, 1));
		ASSERT_EQ(CHUNK, splice(fd, &pos, self->in, NULL, CHUNK, 0));
		switch (way) {
		case 0:
			ASSERT_EQ(CHUNK, put_at(fd, 0, CHUNK, 2));
			break;
		case 1:
			ASSERT_EQ(1, put_at(fd, PAGE + 1, 1, 2));
			break;
		case 2:
			ASSERT_EQ(CHUNK, pwritev2(fd, &iov, 1, 0, RWF_ATOMIC));
			break;
		case 3:
			ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length));
			length.length = CHUNK;
			ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_LENGTH, &length));
			break;
		case 4:
			ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_PUNCH, &range));
			break;
		case 5:
			/* Pages of another kind in their place. */
			file = file_with(CHUNK, 3);
			ASSERT_EQ(CHUNK, sendfile(fd, file, NULL, CHUNK));
			close(file);
			break;
		}
		ASSERT_EQ(CHUNK, take(self->out, CHUNK, 0, 1)) TH_LOG("way %d", way);
		ASSERT_EQ(0, close(fd));
	}
}

TEST_F(splice, what_was_lent_outlives_the_stream)
{
	loff_t pos = 3;

	ASSERT_EQ(NODE, put_at(self->fd, 0, NODE, 1));
	ASSERT_EQ(NODE - 3, splice(self->fd, &pos, self->in, NULL, NODE, 0));
	ASSERT_EQ(0, close(self->fd));
	/* The memory that has been freed is used. */
	for (int i = 0; i < 20; i++) {
		int fd = variant->open(O_RDWR);

		ASSERT_EQ(NODE, put_at(fd, 0, NODE, 2));
		ASSERT_EQ(0, close(fd));
	}
	EXPECT_EQ(NODE - 3, take(self->out, NODE - 3, 3, 1));
}

TEST_F(splice, tee_doubles_what_was_lent)
{
	int pipe_fds[2];
	loff_t pos = 0;

	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK, splice(self->fd, &pos, self->in, NULL, CHUNK, 0));
	ASSERT_EQ(CHUNK, tee(self->out, pipe_fds[1], CHUNK, 0));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 2));
	EXPECT_EQ(CHUNK, take(self->out, CHUNK, 0, 1));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 3));
	EXPECT_EQ(CHUNK, take(pipe_fds[0], CHUNK, 0, 1));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST_F(splice, sendfile_to_a_socket_lends_as_well)
{
	int sockets[2];
	off_t pos = 5;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK - 5, sendfile(sockets[0], self->fd, &pos, CHUNK));
	EXPECT_EQ(CHUNK, pos);
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 2));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(CHUNK - 5, take(sockets[1], CHUNK - 5, 5, 1));
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(splice, sendfile_to_a_file)
{
	int file = file_with(0, 0);

	ASSERT_LE(0, file);
	ASSERT_EQ(3 * MiB + 77, put_at(self->fd, 0, 3 * MiB + 77, 1));
	for (long long done = 0; done < 3 * MiB + 77;) {
		ssize_t sent = sendfile(file, self->fd, NULL, 10 * MiB);

		ASSERT_LT(0, sent);
		done += sent;
		ASSERT_EQ(done, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(3 * MiB + 77, right_at(file, 0, 3 * MiB + 77, 1));
	EXPECT_EQ(0, sendfile(file, self->fd, NULL, 1));
	close(file);
}

TEST_F(splice, out_of_a_stream_waits_at_the_end)
{
	int writer = open_handle(self->fd, O_WRONLY);
	loff_t pos = 0;
	pid_t child;

	ASSERT_LE(0, writer);
	EXPECT_EQ(EAGAIN, ERRNO_OF(splice(self->fd, &pos, self->in, NULL, 10, SPLICE_F_NONBLOCK)));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(EAGAIN, ERRNO_OF(splice(self->fd, &pos, self->in, NULL, 10, 0)));
	ASSERT_EQ(0, fcntl(self->fd, F_SETFL, 0));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		close(writer);
		_exit(splice(self->fd, NULL, self->in, NULL, 1000, 0) != 10);
	}
	ASSERT_TRUE(sleeps_in(child, SYS_splice));
	ASSERT_EQ(10, put_at(writer, 0, 10, 1));
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(10, take(self->out, 10, 0, 1));
	ASSERT_EQ(0, close(writer));
	EXPECT_EQ(0, splice(self->fd, NULL, self->in, NULL, 10, 0));
}

/* What it waited for stays in the stream. */
TEST_F(splice, out_of_a_stream_with_nobody_left_to_read_is_epipe)
{
	int writer = open_handle(self->fd, O_WRONLY);
	pid_t child;

	ASSERT_LE(0, writer);
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		close(self->out);
		close(writer);
		signal(SIGPIPE, SIG_IGN);
		_exit(ERRNO_OF(splice(self->fd, NULL, self->in, NULL, 1000, 0)) != EPIPE);
	}
	ASSERT_TRUE(sleeps_in(child, SYS_splice));
	ASSERT_EQ(0, close(self->out));
	self->out = -1;
	ASSERT_EQ(10, put_at(writer, 0, 10, 1));
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	close(writer);
}

TEST_F(splice, wrong_calls_are_refused)
{
	int reader = variant->open(O_RDONLY), writer = variant->open(O_WRONLY);
	int appender = variant->open(O_RDWR | O_APPEND);
	loff_t pos = 0, negative = -1;

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	ASSERT_LE(0, appender);
	ASSERT_EQ(10, put_at(self->fd, 0, 10, 1));
	ASSERT_EQ(10, splice(self->fd, &pos, self->in, NULL, 10, 0));
	EXPECT_EQ(EBADF, ERRNO_OF(splice(writer, NULL, self->in, NULL, 10, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(splice(self->out, NULL, reader, NULL, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(splice(self->out, NULL, appender, NULL, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(splice(self->fd, &negative, self->in, NULL, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(splice(self->fd, NULL, writer, NULL, 10, 0)));
	EXPECT_EQ(EINVAL, ERRNO_OF(splice(self->fd, NULL, self->in, NULL, 10, 1 << 20)));
	EXPECT_EQ(ESPIPE, ERRNO_OF(splice(self->fd, NULL, self->in, &pos, 10, 0)));
	EXPECT_EQ(0, splice(self->fd, NULL, self->in, NULL, 0, 0));
	EXPECT_EQ(10, take(self->out, 10, 0, 1));
	close(reader);
	close(writer);
	close(appender);
}

struct rewriter {
	int fd;
	atomic_int over;
	long long writes;
};

static void *rewrite(void *arg)
{
	struct rewriter *rewriter = arg;
	char *memory = fresh_memory(CHUNK);

	pin_to(1);
	for (char letter = 'a'; !rewriter->over; letter = letter == 'z' ? 'a' : letter + 1) {
		memset(memory, letter, CHUNK);
		if (pwrite(rewriter->fd, memory, CHUNK, 0) != CHUNK)
			break;
		rewriter->writes++;
	}
	return NULL;
}

/* What is in the pipe is read twice, by way of tee: the same both times. */
TEST_F(splice, what_was_lent_is_stable_under_a_writer)
{
	struct rewriter rewriter = { .fd = self->fd };
	static char first[CHUNK], second[CHUNK];
	long long end = now_ms() + RACE_MS;
	int pipe_fds[2];
	pthread_t thread;

	ASSERT_EQ(0, pipe(pipe_fds));
	memset(first, '-', CHUNK);
	ASSERT_EQ(CHUNK, pwrite(self->fd, first, CHUNK, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, rewrite, &rewriter));
	pin_to(0);
	while (now_ms() < end) {
		loff_t pos = 0;

		ASSERT_EQ(CHUNK, splice(self->fd, &pos, self->in, NULL, CHUNK, 0));
		ASSERT_EQ(CHUNK, tee(self->out, pipe_fds[1], CHUNK, 0));
		ASSERT_EQ(CHUNK, read(self->out, first, CHUNK));
		sched_yield();
		ASSERT_EQ(CHUNK, read(pipe_fds[0], second, CHUNK));
		ASSERT_EQ(0, memcmp(first, second, CHUNK));
		/* It was lent in one go, and so is of one write. */
		ASSERT_EQ(0, memcmp(first, first + 1, CHUNK - 1));
	}
	rewriter.over = 1;
	pthread_join(thread, NULL);
	EXPECT_LT(0, rewriter.writes);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* ---- into the stream ---- */

TEST_F(splice, into_a_stream_puts_bytes_where_they_belong)
{
	const long long starts[] = { 0, 1, PAGE - 1, PAGE, CHUNK + 3, NODE };
	const long long lens[] = { 1, 10, PAGE, PAGE + 1, CHUNK, CHUNK + 7 };
	char *memory = fresh_memory(MiB);

	for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
		for (size_t j = 0; j < ARRAY_LEN(lens); j++) {
			long long start = starts[i], len = lens[j], done = 0;
			loff_t pos = start;

			ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
			fill(memory, len, start, 2);
			ASSERT_EQ(len, write(self->in, memory, len));
			while (done < len) {
				ssize_t moved = splice(self->out, NULL, self->fd, &pos, len - done,
						       SPLICE_F_MOVE);

				ASSERT_LT(0, moved);
				done += moved;
			}
			ASSERT_EQ(start + len, pos);
			ASSERT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
			ASSERT_EQ(start, right_at(self->fd, 0, start, 1));
			ASSERT_EQ(len, right_at(self->fd, start, len, 2));
			ASSERT_EQ(MiB - start - len,
				  right_at(self->fd, start + len, MiB - start - len, 1));
		}
	}
}

TEST_F(splice, into_a_stream_moves_the_position_and_the_end)
{
	char bytes[100];

	ASSERT_EQ(100, write(self->in, fill(bytes, 100, 10, 1), 100));
	ASSERT_EQ(10, lseek(self->fd, 10, SEEK_SET));
	EXPECT_EQ(60, splice(self->out, NULL, self->fd, NULL, 60, 0));
	EXPECT_EQ(70, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(70, length_of(self->fd));
	EXPECT_EQ(40, splice(self->out, NULL, self->fd, NULL, 600, 0));
	EXPECT_EQ(110, length_of(self->fd));
	EXPECT_EQ(10, right_at(self->fd, 0, 10, ZEROS));
	EXPECT_EQ(100, right_at(self->fd, 10, 100, 1));
}

/* How many pages the kernel has given to anybody so far. */
static long long pages_taken(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	long long sum = 0, count;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "pgalloc_%*s %lld", &count) == 1)
			sum += count;
	if (file)
		fclose(file);
	return sum;
}

/* A page that was written to a pipe needs no other in the stream. */
TEST_F(splice, what_was_written_to_a_pipe_is_not_copied)
{
	char *memory = fill(fresh_memory(MiB), MiB, 0, 1);
	long long least = LLONG_MAX;

	for (int round = 0; round < 3; round++) {
		long long before = pages_taken(), taken;
		int fd = variant->open(O_RDWR);
		loff_t pos = 0;

		ASSERT_LE(0, fd);
		while (pos < 16 * MiB) {
			ASSERT_EQ(MiB, write(self->in, memory, MiB));
			for (loff_t end = pos + MiB; pos < end;) {
				ASSERT_LT(0, splice(self->out, NULL, fd, &pos, end - pos, 0));
			}
		}
		taken = pages_taken() - before;
		EXPECT_EQ(MiB, right_at(fd, 0, MiB, 1));
		close(fd);
		least = taken < least ? taken : least;
	}
	EXPECT_LT(16 * MiB / PAGE * 9 / 10, least);
	/* Twice as many if they were copied. */
	EXPECT_GT(16 * MiB / PAGE * 3 / 2, least);
}

/*
 * Whole pages out of a pipe are the stream's own: not the pipe's to fill again, not of one that
 * tee() filled, and not of who wrote them.
 */
TEST_F(splice, what_came_from_a_pipe_is_the_streams_alone)
{
	char *memory = fresh_memory(CHUNK);
	int second[2];

	ASSERT_EQ(0, pipe2(second, O_CLOEXEC));
	for (int is_doubled = 0; is_doubled <= 1; is_doubled++) {
		loff_t pos = 0;

		ASSERT_EQ(CHUNK, write(self->in, fill(memory, CHUNK, 0, 1), CHUNK));
		if (is_doubled) {
			ASSERT_EQ(CHUNK, tee(self->out, second[1], CHUNK, 0));
		}
		fill(memory, CHUNK, 0, 2);
		while (pos < CHUNK) {
			ASSERT_LT(0, splice(self->out, NULL, self->fd, &pos, CHUNK - pos, 0));
		}
		/* The pipe uses the pages again that nobody took. */
		ASSERT_EQ(CHUNK, write(self->in, memory, CHUNK));
		EXPECT_EQ(CHUNK, right_at(self->fd, 0, CHUNK, 1));
		EXPECT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 3));
		EXPECT_EQ(CHUNK, take(self->out, CHUNK, 0, 2));
		if (is_doubled) {
			EXPECT_EQ(CHUNK, take(second[0], CHUNK, 0, 1));
		}
		EXPECT_EQ(CHUNK, right_at(self->fd, 0, CHUNK, 3));
	}
	close(second[0]);
	close(second[1]);
}

/* What a pipe holds of a page shows nothing of the rest when the stream grows over it. */
TEST_F(splice, the_rest_of_a_pipes_page_stays_behind)
{
	char bytes[PAGE];
	loff_t pos = 0;

	ASSERT_EQ(PAGE, write(self->in, fill(bytes, PAGE, 0, 1), PAGE));
	ASSERT_EQ(PAGE, take(self->out, PAGE, 0, 1));
	ASSERT_EQ(100, write(self->in, bytes, 100));
	ASSERT_EQ(100, splice(self->out, NULL, self->fd, &pos, PAGE, 0));
	ASSERT_EQ(1, put_at(self->fd, PAGE, 1, 1));
	EXPECT_EQ(100, right_at(self->fd, 0, 100, 1));
	EXPECT_EQ(PAGE - 100, right_at(self->fd, 100, PAGE - 100, ZEROS));
}

/* Memory that the caller gives away: the stream has the bytes, whatever becomes of the pages. */
TEST_F(splice, gifts_arrive)
{
	for (int round = 0; round < 20; round++) {
		char *memory = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct iovec iov = { .iov_base = memory, .iov_len = CHUNK };
		loff_t pos = round * CHUNK;

		ASSERT_NE(MAP_FAILED, memory);
		fill(memory, CHUNK, pos, 1);
		ASSERT_EQ(CHUNK, vmsplice(self->in, &iov, 1, SPLICE_F_GIFT));
		/* Given away, and no longer mapped: nobody else has it. */
		ASSERT_EQ(0, munmap(memory, CHUNK));
		while (pos < (round + 1) * CHUNK) {
			ASSERT_LT(0, splice(self->out, NULL, self->fd, &pos, CHUNK, SPLICE_F_MOVE));
		}
	}
	EXPECT_EQ(20 * CHUNK, right_at(self->fd, 0, 20 * CHUNK, 1));
	EXPECT_EQ(20 * CHUNK, put_at(self->fd, 0, 20 * CHUNK, 2));
	EXPECT_EQ(20 * CHUNK, right_at(self->fd, 0, 20 * CHUNK, 2));
}

/* Who gives a page away and keeps it mapped can harm the pipe, but not the stream. */
TEST_F(splice, a_gift_that_is_still_mapped_is_copied)
{
	char *memory = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { .iov_base = memory, .iov_len = CHUNK };
	loff_t pos = 0;

	fill(memory, CHUNK, 0, 1);
	ASSERT_EQ(CHUNK, vmsplice(self->in, &iov, 1, SPLICE_F_GIFT));
	while (pos < CHUNK) {
		ASSERT_LT(0, splice(self->out, NULL, self->fd, &pos, CHUNK, SPLICE_F_MOVE));
	}
	fill(memory, CHUNK, 0, 2);
	EXPECT_EQ(CHUNK, right_at(self->fd, 0, CHUNK, 1));
	EXPECT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 3));
	EXPECT_EQ(CHUNK, right(memory, CHUNK, 0, 2));
}

TEST_F(splice, one_stream_to_another)
{
	int other = variant->open(O_RDWR);
	loff_t from = 0, to = 0;

	ASSERT_LE(0, other);
	ASSERT_EQ(MiB, put_at(self->fd, 0, MiB, 1));
	while (to < MiB) {
		ssize_t moved = splice(self->fd, &from, self->in, NULL, CHUNK, SPLICE_F_MOVE);

		ASSERT_LT(0, moved);
		while (to < from) {
			ASSERT_LT(0, splice(self->out, NULL, other, &to, from - to, SPLICE_F_MOVE));
		}
	}
	EXPECT_EQ(MiB, right_at(other, 0, MiB, 1));
	/* What is written to one does not show in the other. */
	EXPECT_EQ(MiB, put_at(self->fd, 0, MiB, 2));
	EXPECT_EQ(MiB, right_at(other, 0, MiB, 1));
	EXPECT_EQ(MiB, put_at(other, 0, MiB, 3));
	EXPECT_EQ(MiB, right_at(self->fd, 0, MiB, 2));
	close(other);
}

TEST_F(splice, a_stream_to_itself)
{
	loff_t from = 0, to = MiB + 5;

	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 1));
	ASSERT_EQ(CHUNK, splice(self->fd, &from, self->in, NULL, CHUNK, 0));
	while (to < MiB + 5 + CHUNK) {
		ASSERT_LT(0, splice(self->out, NULL, self->fd, &to, CHUNK, SPLICE_F_MOVE));
	}
	ASSERT_EQ(CHUNK, put_at(self->fd, 0, CHUNK, 2));
	from = MiB + 5;
	ASSERT_EQ(CHUNK, splice(self->fd, &from, self->in, NULL, CHUNK, 0));
	EXPECT_EQ(CHUNK, take(self->out, CHUNK, 0, 1));
	EXPECT_EQ(CHUNK, right_at(self->fd, 0, CHUNK, 2));
}

/* The page cache of a file keeps its pages, whatever the flags of the move. */
TEST_F(splice, a_files_bytes_stay_in_the_file)
{
	const long long len = 3 * CHUNK + 9;
	loff_t from = 0, to = 0;
	int file = file_with(len, 1);

	ASSERT_LE(0, file);
	while (from < len) {
		ASSERT_LT(0, splice(file, &from, self->in, NULL, CHUNK, SPLICE_F_MOVE));
		while (to < from) {
			ASSERT_LT(0, splice(self->out, NULL, self->fd, &to, from - to,
					    SPLICE_F_MOVE));
		}
	}
	EXPECT_EQ(len, right_at(self->fd, 0, len, 1));
	EXPECT_EQ(len, put_at(self->fd, 0, len, 2));
	EXPECT_EQ(len, right_at(file, 0, len, 1));
	EXPECT_EQ(len, put_at(file, 0, len, 3));
	EXPECT_EQ(len, right_at(self->fd, 0, len, 2));
	close(file);
}

TEST_F(splice, sendfile_into_a_stream)
{
	const long long len = 2 * MiB + 321;
	int file = file_with(len, 1);
	off_t from = 7;

	ASSERT_LE(0, file);
	ASSERT_EQ(7, lseek(self->fd, 7, SEEK_SET));
	while (from < len) {
		ASSERT_LT(0, sendfile(self->fd, file, &from, len));
		ASSERT_EQ(from, lseek(self->fd, 0, SEEK_CUR));
	}
	EXPECT_EQ(len, length_of(self->fd));
	EXPECT_EQ(len - 7, right_at(self->fd, 7, len - 7, 1));
	close(file);
}

TEST_F(splice, into_a_stream_keeps_its_limit)
{
	struct qemufile_limit limit = { .limit = CHUNK + 10 };
	char *memory = fresh_memory(3 * CHUNK);
	loff_t pos = 0;
	ssize_t moved;

	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(3 * CHUNK, write(self->in, fill(memory, 3 * CHUNK, 0, 1), 3 * CHUNK));
	do {
		moved = splice(self->out, NULL, self->fd, &pos, 3 * CHUNK, SPLICE_F_MOVE);
	} while (moved > 0);
	EXPECT_EQ(-1, moved);
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(CHUNK + 10, pos);
	EXPECT_EQ(CHUNK + 10, length_of(self->fd));
	EXPECT_EQ(CHUNK + 10, right_at(self->fd, 0, CHUNK + 10, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(self->fd)));
	/* The rest is in the pipe still. */
	EXPECT_EQ(2 * CHUNK - 10, take(self->out, 2 * CHUNK - 10, CHUNK + 10, 1));
}

TEST_F(splice, into_a_stream_keeps_rlimit_fsize)
{
	struct rlimit limit = { .rlim_cur = PAGE + 10, .rlim_max = RLIM_INFINITY };
	char bytes[2 * PAGE];
	loff_t pos = 0;
	ssize_t moved;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(2 * PAGE, write(self->in, fill(bytes, 2 * PAGE, 0, 1), 2 * PAGE));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	do {
		moved = splice(self->out, NULL, self->fd, &pos, 2 * PAGE, SPLICE_F_MOVE);
	} while (moved > 0);
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(PAGE + 10, length_of(self->fd));
	EXPECT_EQ(PAGE + 10, right_at(self->fd, 0, PAGE + 10, 1));
}

TEST_F(splice, into_a_sealed_stream_is_eperm)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_SEALED };
	char bytes[PAGE];

	ASSERT_EQ(PAGE, write(self->in, fill(bytes, PAGE, 0, 1), PAGE));
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	EXPECT_EQ(EPERM, ERRNO_OF(splice(self->out, NULL, self->fd, NULL, PAGE, SPLICE_F_MOVE)));
	EXPECT_EQ(0, length_of(self->fd));
	EXPECT_EQ(PAGE, take(self->out, PAGE, 0, 1));
}

TEST_F(splice, into_a_stream_wakes_readers)
{
	int reader = open_handle(self->fd, O_RDONLY);
	struct pending_read call;
	char bytes[PAGE];

	ASSERT_LE(0, reader);
	ASSERT_TRUE(read_waits(&call, reader, PAGE, -1));
	ASSERT_EQ(PAGE, write(self->in, fill(bytes, PAGE, 0, 1), PAGE));
	ASSERT_EQ(PAGE, splice(self->out, NULL, self->fd, NULL, PAGE, 0));
	EXPECT_EQ(PAGE, read_result(&call, 5000));
	EXPECT_EQ(PAGE, right(call.bytes, PAGE, 0, 1));
	close(reader);
}

struct mover {
	int from;
	int to;
};

static void *move_all(void *arg)
{
	struct mover *mover = arg;

	pin_to(1);
	while (splice(mover->from, NULL, mover->to, NULL, MiB, SPLICE_F_MOVE) > 0)
		;
	close(mover->to);
	return NULL;
}

/* Through a pipe into one stream, and at the same time out of it by another handle. */
TEST_F(splice, from_end_to_end)
{
	const long long len = 16 * MiB;
	int reader = open_handle(self->fd, O_RDONLY), pipe_fds[2];
	struct mover in = { .from = self->out, .to = self->fd }, out = { .from = reader };
	char *memory = fresh_memory(CHUNK);
	pthread_t threads[2];
	long long put = 0, got = 0;

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, pipe(pipe_fds));
	out.to = pipe_fds[1];
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, move_all, &in));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, move_all, &out));
	while (got < len) {
		long long most = len - put < CHUNK ? len - put : CHUNK;

		ASSERT_EQ(most, write(self->in, fill(memory, most, put, 1), most));
		put += most;
		most = put - got < CHUNK ? put - got : CHUNK;
		ASSERT_EQ(most, take(pipe_fds[0], most, got, 1));
		got += most;
	}
	ASSERT_EQ(0, close(self->in));
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(0, read(pipe_fds[0], memory, 1));
	EXPECT_EQ(len, length_of(reader));
	EXPECT_EQ(len, right_at(reader, 0, len, 1));
	close(reader);
	close(pipe_fds[0]);
}

TEST_HARNESS_MAIN
