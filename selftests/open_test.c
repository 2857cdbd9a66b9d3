// SPDX-License-Identifier: GPL-2.0
/* open(2): what each flag does, and that every open is a stream of its own. */
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "harness.h"

FIXTURE(open) {
};

FIXTURE_SETUP(open)
{
}

FIXTURE_TEARDOWN(open)
{
}

TEST_F(open, node_is_a_misc_device_for_root_alone)
{
	struct stat st;

	ASSERT_EQ(0, stat(DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
	EXPECT_EQ(10, major(st.st_rdev));
}

TEST_F(open, others_may_not)
{
	pid_t child = fork_child();

	ASSERT_LE(0, child);
	if (child == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(100);
		_exit(ERRNO_OF(open(DEVICE, O_RDONLY)));
	}
	EXPECT_EQ(EACCES, status_of(child));
}

TEST_F(open, access_mode_is_kept)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	char byte = 1;

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		int fd = open(DEVICE, modes[i]);

		ASSERT_LE(0, fd);
		EXPECT_EQ(modes[i], fcntl(fd, F_GETFL) & O_ACCMODE);
		EXPECT_EQ(modes[i] == O_RDONLY ? EBADF : 0, ERRNO_OF(write(fd, &byte, 1)));
		EXPECT_EQ(modes[i] == O_WRONLY ? EBADF : 0, ERRNO_OF(read(fd, &byte, 1)));
		EXPECT_EQ(0, close(fd));
	}
}

/* Access mode 3: permission for both is asked, and neither is given. */
TEST_F(open, access_mode_3_allows_neither)
{
	int fd = open(DEVICE, O_ACCMODE);
	char byte = 1;

	ASSERT_LE(0, fd);
	EXPECT_EQ(EBADF, ERRNO_OF(write(fd, &byte, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(read(fd, &byte, 1)));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, flags_that_stay)
{
	const int flags[] = {
		O_APPEND, O_NONBLOCK, O_DSYNC, O_SYNC, O_DIRECT, O_NOATIME, O_NOFOLLOW,
		O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT,
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		int fd = open(DEVICE, O_RDWR | flags[i]);

		ASSERT_LE(0, fd) TH_LOG("flags %#o: %m", flags[i]);
		EXPECT_EQ(flags[i], fcntl(fd, F_GETFL) & flags[i]);
		EXPECT_EQ(1000, put_at(fd, 0, 1000, 1)) TH_LOG("flags %#o: %m", flags[i]);
		EXPECT_EQ(1000, right_at(fd, 0, 1000, 1));
		EXPECT_EQ(0, close(fd));
	}
}

TEST_F(open, flags_that_mean_nothing_are_accepted)
{
	const int flags[] = { O_TRUNC, O_CREAT, O_CREAT | O_TRUNC, O_NOCTTY };

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		int fd = open(DEVICE, O_RDWR | flags[i], 0666);
		struct stat st;

		ASSERT_LE(0, fd) TH_LOG("flags %#o: %m", flags[i]);
		EXPECT_EQ(0, fcntl(fd, F_GETFL) & flags[i]);
		EXPECT_EQ(0, fstat(fd, &st));
		EXPECT_EQ(0600, st.st_mode & 07777);
		EXPECT_EQ(10, put_at(fd, 0, 10, 1));
		EXPECT_EQ(0, close(fd));
	}
}

TEST_F(open, cloexec)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, close(fd));
	fd = open(DEVICE, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, flags_that_do_not_fit_are_refused)
{
	EXPECT_EQ(ENOTDIR, ERRNO_OF(open(DEVICE, O_RDONLY | O_DIRECTORY)));
	EXPECT_EQ(EEXIST, ERRNO_OF(open(DEVICE, O_RDWR | O_CREAT | O_EXCL, 0600)));
	EXPECT_EQ(ENOTDIR, ERRNO_OF(open(DEVICE, O_RDWR | O_TMPFILE, 0600)));
	EXPECT_EQ(ENOTDIR, ERRNO_OF(open(DEVICE "/", O_RDWR)));
	EXPECT_EQ(ENOTDIR, ERRNO_OF(open(DEVICE "/0", O_RDWR)));
}

TEST_F(open, o_path_gives_no_access_to_bytes)
{
	int fd = open(DEVICE, O_PATH);
	struct iovec iov;
	struct stat st;
	char byte = 1;

	ASSERT_LE(0, fd);
	iov = (struct iovec){ .iov_base = &byte, .iov_len = 1 };
	EXPECT_EQ(EBADF, ERRNO_OF(read(fd, &byte, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(write(fd, &byte, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(pread(fd, &byte, 1, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(pwrite(fd, &byte, 1, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(readv(fd, &iov, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(writev(fd, &iov, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(lseek(fd, 0, SEEK_SET)));
	EXPECT_EQ(EBADF, ERRNO_OF(fsync(fd)));
	EXPECT_EQ(EBADF, ERRNO_OF(ftruncate(fd, 0)));
	EXPECT_EQ(EBADF, ERRNO_OF(fallocate(fd, 0, 0, 1)));
	EXPECT_EQ(EBADF, ERRNO_OF(ioctl(fd, FIONREAD, &byte)));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(POLLNVAL, polled(fd, POLLIN));
	EXPECT_EQ(0, fstat(fd, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, each_open_is_a_fresh_stream)
{
	int a = open(DEVICE, O_RDWR), b = open(DEVICE, O_RDWR), c;

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(3 * PAGE, put_at(a, 0, 3 * PAGE, 1));
	EXPECT_EQ(0, length_of(b));
	EXPECT_EQ(PAGE, put_at(b, 0, PAGE, 2));
	EXPECT_EQ(3 * PAGE, right_at(a, 0, 3 * PAGE, 1));
	EXPECT_EQ(PAGE, right_at(b, 0, PAGE, 2));
	EXPECT_EQ(PAGE, length_of(b));
	EXPECT_EQ(0, close(a));

	c = open(DEVICE, O_RDWR);
	ASSERT_LE(0, c);
	EXPECT_EQ(0, length_of(c));
	EXPECT_EQ(PAGE, right_at(b, 0, PAGE, 2));
	EXPECT_EQ(0, close(b));
	EXPECT_EQ(0, close(c));
}

/* A device has no memory of the file that /proc names: it is the node that is opened. */
TEST_F(open, reopening_the_device_through_proc_is_a_fresh_stream)
{
	int fd = open(DEVICE, O_RDWR), again;
	char path[64];

	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR);
	ASSERT_LE(0, again);
	EXPECT_EQ(0, length_of(again));
	EXPECT_EQ(10, put_at(again, 0, 10, 2));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	EXPECT_EQ(0, close(again));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, another_node_is_the_same_device)
{
	int fd;
	struct stat st;

	ASSERT_EQ(0, stat(DEVICE, &st));
	unlink("/tmp/qemufile.node");
	ASSERT_EQ(0, mknod("/tmp/qemufile.node", S_IFCHR | 0600, st.st_rdev));
	fd = open("/tmp/qemufile.node", O_RDWR);
	EXPECT_EQ(0, unlink("/tmp/qemufile.node"));
	ASSERT_LE(0, fd);
	EXPECT_EQ(2 * PAGE, put_at(fd, 0, 2 * PAGE, 1));
	EXPECT_EQ(2 * PAGE, right_at(fd, 0, 2 * PAGE, 1));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, duplicates_share_stream_position_and_flags)
{
	int fd = open(DEVICE, O_RDWR), dup_fd;
	char bytes[20];

	ASSERT_LE(0, fd);
	dup_fd = dup(fd);
	ASSERT_LE(0, dup_fd);
	EXPECT_EQ(10, write(fd, fill(bytes, 10, 0, 1), 10));
	EXPECT_EQ(10, lseek(dup_fd, 0, SEEK_CUR));
	EXPECT_EQ(10, write(dup_fd, fill(bytes, 10, 10, 1), 10));
	EXPECT_EQ(20, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(0, fcntl(dup_fd, F_SETFL, O_APPEND));
	EXPECT_EQ(O_APPEND, fcntl(fd, F_GETFL) & O_APPEND);
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(20, right_at(dup_fd, 0, 20, 1));
	EXPECT_EQ(0, close(dup_fd));
}

TEST_F(open, a_child_shares_the_stream_and_its_position)
{
	int fd = open(DEVICE, O_RDWR);
	char bytes[10];
	pid_t child;

	ASSERT_LE(0, fd);
	EXPECT_EQ(10, write(fd, fill(bytes, 10, 0, 1), 10));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0)
		_exit(write(fd, fill(bytes, 10, 10, 1), 10) != 10);
	EXPECT_EQ(0, status_of(child));
	EXPECT_EQ(20, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(20, right_at(fd, 0, 20, 1));
	EXPECT_EQ(0, close(fd));
}

TEST_F(open, a_descriptor_can_be_sent_to_another_process)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	char byte = 0, bytes[PAGE];
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int sockets[2], fd;
	pid_t child;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	child = fork_child();
	ASSERT_LE(0, child);
	if (child == 0) {
		fd = open(DEVICE, O_RDWR);
		if (fd < 0 || write(fd, fill(bytes, PAGE, 0, 1), PAGE) != PAGE)
			_exit(1);
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
		_exit(sendmsg(sockets[0], &message, 0) != 1);
	}
	EXPECT_EQ(0, status_of(child));
	ASSERT_EQ(1, recvmsg(sockets[1], &message, MSG_CMSG_CLOEXEC));
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	EXPECT_EQ(PAGE, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	EXPECT_EQ(0, close(fd));
	close(sockets[0]);
	close(sockets[1]);
}

TEST_F(open, a_thousand_streams_at_once)
{
	enum { COUNT = 1000 };
	struct rlimit limit = { .rlim_cur = COUNT + 100, .rlim_max = COUNT + 100 };
	static int fds[COUNT];

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < COUNT; i++) {
		fds[i] = open_device(O_RDWR);
		ASSERT_LE(0, fds[i]) TH_LOG("stream %d: %m", i);
		ASSERT_EQ(100, put_at(fds[i], i, 100, 1 + i % 99));
	}
	for (int i = 0; i < COUNT; i++) {
		ASSERT_EQ(100, right_at(fds[i], i, 100, 1 + i % 99)) TH_LOG("stream %d", i);
		ASSERT_EQ(0, close(fds[i]));
	}
}

/* A page, 64 KiB and 1 MiB at addresses, offsets and lengths that fit no block. */
TEST_F(open, o_direct_has_no_alignment)
{
	int fd = open(DEVICE, O_RDWR | O_DIRECT);
	char *memory = fresh_memory(2 * MiB);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, memory);
	for (long long len = PAGE; len <= MiB; len *= 16) {
		fill(memory + 3, len + 7, 5, 1);
		EXPECT_EQ(len + 7, pwrite(fd, memory + 3, len + 7, 5));
		memset(memory, 0, len + 20);
		EXPECT_EQ(len + 7, pread(fd, memory + 1, len + 7, 5));
		EXPECT_EQ(len + 7, right(memory + 1, len + 7, 5, 1));
	}
	EXPECT_EQ(0, fcntl(fd, F_SETFL, 0));
	EXPECT_EQ(0, fcntl(fd, F_SETFL, O_DIRECT));
	EXPECT_EQ(0, close(fd));
}

TEST_HARNESS_MAIN
