// SPDX-License-Identifier: GPL-2.0
/* The module stays while there is anything of it to be reached. */
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "harness.h"

FIXTURE(module) {
	int before;
};

/* Whether there are @count references; a file may be released a moment late. */
static bool references_are(int count)
{
	for (int i = 0; i < 2000 && references() != count; i++)
		sleep_ms(1);
	return references() == count;
}

/* What rmmod(8) does; it says "in use" to EWOULDBLOCK. */
static int remove_module(void)
{
	return syscall(SYS_delete_module, "qemufile", O_NONBLOCK);
}

FIXTURE_SETUP(module)
{
	self->before = references();
	if (self->before < 0)
		SKIP(return, "the driver is no module that can be unloaded here");
}

FIXTURE_TEARDOWN(module)
{
	EXPECT_TRUE(references_are(self->before)) {
		TH_LOG("%d references before, %d after", self->before, references());
	}
}

TEST_F(module, cannot_be_removed_while_a_file_is_open)
{
	int fd = open_device(O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(self->before + 1, references());
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	EXPECT_EQ(100, put_at(fd, 0, 100, 1));
	EXPECT_EQ(100, right_at(fd, 0, 100, 1));
	EXPECT_EQ(0, close(fd));
}

TEST_F(module, is_pinned_once_a_file_and_not_once_a_descriptor)
{
	int a = open_device(O_RDWR), b = open_device(O_RDONLY), c = dup(a);

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_LE(0, c);
	EXPECT_EQ(self->before + 2, references());
	EXPECT_EQ(0, close(a));
	EXPECT_EQ(self->before + 2, references());
	EXPECT_EQ(0, close(c));
	EXPECT_TRUE(references_are(self->before + 1));
	EXPECT_EQ(0, close(b));
}

TEST_F(module, is_not_pinned_by_an_open_that_failed)
{
	EXPECT_EQ(ENOTDIR, ERRNO_OF(open(DEVICE, O_RDONLY | O_DIRECTORY)));
	EXPECT_EQ(EEXIST, ERRNO_OF(open(DEVICE, O_RDWR | O_CREAT | O_EXCL, 0600)));
	EXPECT_TRUE(references_are(self->before));
}

TEST_F(module, is_not_pinned_by_o_path)
{
	int fd = open(DEVICE, O_PATH);

	ASSERT_LE(0, fd);
	EXPECT_EQ(self->before, references());
	EXPECT_EQ(0, close(fd));
}

TEST_F(module, is_pinned_by_a_descriptor_in_flight)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
	} };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int sockets[2], fd = open_device(O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	ASSERT_EQ(1, sendmsg(sockets[0], &message, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(self->before + 1, references());
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	/* Never received: the socket lets go of it. */
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(module, is_let_go_by_a_process_that_is_killed)
{
	int ready[2];
	char byte;
	pid_t child;

	ASSERT_EQ(0, pipe(ready));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		for (int i = 0; i < 10; i++) {
			int fd = open_device(O_RDWR);

			if (fd < 0 || put_at(fd, 0, MiB, 1) != MiB)
				_exit(1);
		}
		write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(self->before + 10, references());
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
}

TEST_F(module, cannot_be_removed_while_a_stream_has_a_regular_file)
{
	int fd = open_file(O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_LT(self->before, references());
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	EXPECT_EQ(0, close(fd));
}

TEST_F(module, cannot_be_removed_while_a_mapping_lasts)
{
	int (*const open[])(int) = { open_device, open_file };

	for (size_t i = 0; i < ARRAY_LEN(open); i++) {
		int fd = open[i](O_RDWR);
		char *memory;

		ASSERT_LE(0, fd);
		ASSERT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
		memory = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, memory);
		EXPECT_EQ(0, close(fd));
		sleep_ms(20);
		EXPECT_LT(self->before, references());
		EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
		EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
		EXPECT_EQ(0, munmap(memory, PAGE));
		EXPECT_TRUE(references_are(self->before));
	}
}

/* A pipe and a socket that hold the same pages of a stream that is closed. */
struct loan {
	int pipe_fds[2];
	int sockets[2];
};

static bool lend(struct loan *loan, size_t len)
{
	int fd = open_device(O_RDWR);
	loff_t start = 0, again = 0;

	return fd >= 0 && pipe(loan->pipe_fds) == 0 &&
	       socketpair(AF_UNIX, SOCK_STREAM, 0, loan->sockets) == 0 &&
	       put_at(fd, 0, len, 1) == (long long)len &&
	       splice(fd, &start, loan->pipe_fds[1], NULL, len, 0) == (ssize_t)len &&
	       sendfile(loan->sockets[0], fd, &again, len) == (ssize_t)len && close(fd) == 0;
}

/* Takes the next page out of both, and says whether it is the one at @pos. */
static bool take_back(struct loan *loan, off_t pos)
{
	char bytes[PAGE];

	return read(loan->pipe_fds[0], bytes, PAGE) == PAGE && right(bytes, PAGE, pos, 1) == PAGE &&
	       recv(loan->sockets[1], bytes, PAGE, MSG_WAITALL) == PAGE &&
	       right(bytes, PAGE, pos, 1) == PAGE;
}

static void close_loan(struct loan *loan)
{
	for (int i = 0; i < 2; i++) {
		close(loan->pipe_fds[i]);
		close(loan->sockets[i]);
	}
}

/* What is lent to a pipe or to a socket needs no module any more. */
TEST_F(module, is_not_pinned_by_pages_that_were_lent)
{
	struct loan loan;

	ASSERT_TRUE(lend(&loan, PAGE));
	EXPECT_TRUE(references_are(self->before));
	EXPECT_TRUE(take_back(&loan, 0));
	close_loan(&loan);
}

/* ---- the module goes, and comes back ---- */

/* Where vm.sh puts it. */
#define MODULE_FILE "/vm/qemufile.ko"

static int load_module(void)
{
	int file = open(MODULE_FILE, O_RDONLY | O_CLOEXEC), result;

	if (file < 0)
		return -1;
	result = syscall(SYS_finit_module, file, "", 0);
	close(file);
	return result;
}

FIXTURE(unload) {
};

FIXTURE_SETUP(unload)
{
	if (access(MODULE_FILE, R_OK))
		SKIP(return, "no " MODULE_FILE " to load again");
	if (references() != 0)
		SKIP(return, "somebody uses the module");
}

/* Whatever has happened, the other tests need it. */
FIXTURE_TEARDOWN_PARENT(unload)
{
	if (references() < 0) {
		EXPECT_EQ(0, load_module());
	}
}

TEST_F(unload, what_was_lent_outlives_the_module)
{
	struct loan loan;

	ASSERT_TRUE(lend(&loan, CHUNK));
	ASSERT_TRUE(references_are(0));
	ASSERT_EQ(0, remove_module());
	EXPECT_EQ(-1, references());
	EXPECT_EQ(ENOENT, ERRNO_OF(open_device(O_RDWR)));
	for (off_t pos = 0; pos < CHUNK; pos += PAGE) {
		ASSERT_TRUE(take_back(&loan, pos)) TH_LOG("at %lld", (long long)pos);
	}
	close_loan(&loan);
}

TEST_F(unload, it_can_be_loaded_again)
{
	for (int round = 0; round < 3; round++) {
		int fd, reader;

		ASSERT_TRUE(references_are(0));
		ASSERT_EQ(0, remove_module()) TH_LOG("%m");
		ASSERT_EQ(0, load_module()) TH_LOG("%m");
		fd = open_device(O_RDWR);
		ASSERT_LE(0, fd);
		reader = open_handle(fd, O_RDONLY);
		ASSERT_LE(0, reader);
		EXPECT_EQ(100, put_at(fd, 0, 100, 1));
		EXPECT_EQ(100, right_at(reader, 0, 100, 1));
		close(fd);
		close(reader);
	}
}

TEST_HARNESS_MAIN
