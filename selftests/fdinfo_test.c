// SPDX-License-Identifier: GPL-2.0
/* /proc/PID/fdinfo/FD: what there is to know of a handle and its stream. */
#include "harness.h"

STREAM_FIXTURE(fdinfo)

/* The value of a line of a descriptor's fdinfo; LLONG_MIN if there is none. */
static long long value_of(int fd, const char *key)
{
	char path[64], line[256];
	long long value = LLONG_MIN;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		size_t len = strlen(key);

		if (!strncmp(line, key, len) && line[len] == ':') {
			value = strtoll(line + len + 1, NULL, 10);
			break;
		}
	}
	if (file)
		fclose(file);
	return value;
}

TEST_F(fdinfo, tells_what_info_tells)
{
	struct qemufile_limit limit = { .limit = 100 * MiB };
	int reader = open_handle(self->fd, O_RDONLY), other = open_handle(self->fd, O_RDONLY);
	struct qemufile_info info;

	ASSERT_LE(0, reader);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_LIMIT, &limit));
	ASSERT_EQ(NODE + 5, put_at(self->fd, PAGE, NODE + 5, 1));
	ASSERT_EQ(77, lseek(reader, 77, SEEK_SET));
	ASSERT_EQ(0, ioctl(reader, QEMUFILE_IOC_GET_INFO, &info));
	EXPECT_EQ(77, value_of(reader, "pos"));
	EXPECT_EQ(PAGE + NODE + 5, value_of(reader, "qemufile-length"));
	EXPECT_EQ((long long)info.allocated, value_of(reader, "qemufile-allocated"));
	EXPECT_EQ((long long)info.allocated, value_of(reader, "qemufile-private"));
	EXPECT_EQ((long long)info.chunks, value_of(reader, "qemufile-chunks"));
	EXPECT_EQ(0, value_of(reader, "qemufile-drained"));
	EXPECT_EQ(100 * MiB, value_of(reader, "qemufile-limit"));
	EXPECT_EQ(3, value_of(reader, "qemufile-readers"));
	EXPECT_EQ(1, value_of(reader, "qemufile-writers"));
	EXPECT_EQ(0, value_of(reader, "qemufile-error"));
	close(reader);
	close(other);
}

TEST_F(fdinfo, tells_the_handles_error)
{
	struct qemufile_error error = { .error = -EIO };
	int other = open_handle(self->fd, O_RDWR);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, ioctl(self->fd, QEMUFILE_IOC_SET_ERROR, &error));
	EXPECT_EQ(-EIO, value_of(self->fd, "qemufile-error"));
	EXPECT_EQ(0, value_of(other, "qemufile-error"));
	close(other);
}

/* So that one can see which descriptors, of which processes, are of one stream. */
TEST_F(fdinfo, tells_which_stream_it_is)
{
	int same = open_handle(self->fd, O_RDONLY), other = variant->open(O_RDWR);
	long long number = value_of(self->fd, "qemufile-stream");
	struct stat st;

	ASSERT_LE(0, same);
	ASSERT_LE(0, other);
	EXPECT_LT(0, number);
	EXPECT_EQ(number, value_of(same, "qemufile-stream"));
	EXPECT_NE(number, value_of(other, "qemufile-stream"));
	ASSERT_EQ(0, fstat(same, &st));
	EXPECT_EQ(number, (long long)st.st_ino);
	close(same);
	close(other);
}

TEST_F(fdinfo, of_another_process_can_be_read_meanwhile)
{
	long long end = now_ms() + RACE_MS;
	pid_t child = fork_child();
	char path[64], text[1024];

	ASSERT_LE(0, child);
	if (child == 0)
		for (;;) {
			int fd = dup2(self->fd, 100);

			put_at(fd, 0, CHUNK, 1);
			close(fd);
		}
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/100", child);
	while (now_ms() < end) {
		int fd = open(path, O_RDONLY);

		if (fd < 0)
			continue;
		/* The descriptor may be gone by now. */
		if (read(fd, text, sizeof(text) - 1) > 0) {
			ASSERT_NE(NULL, strstr(text, "pos:"));
		}
		close(fd);
	}
	ASSERT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(128 + SIGKILL, status_of(child));
}

TEST_HARNESS_MAIN
