// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that know nothing of the device: dd, tar, socat, cat and sha256sum
 * move data through a writer's handle and a reader's. They are given the two as
 * descriptors 8 (to read) and 9 (to write).
 */
#include "harness.h"

FIXTURE(programs) {
	int reader;
	int writer;
};

FIXTURE_SETUP(programs)
{
	int device = open_device(O_RDWR);

	ASSERT_LE(0, device);
	self->reader = open_handle(device, O_RDONLY);
	self->writer = open_handle(device, O_WRONLY);
	ASSERT_LE(0, self->reader);
	ASSERT_LE(0, self->writer);
	close(device);
}

FIXTURE_TEARDOWN(programs)
{
	close(self->reader);
	close(self->writer);
}

/* A shell that runs @script, with the handles as 8 and 9, or without one that is -1. */
static pid_t start(int reader, int writer, const char *script)
{
	pid_t child = fork_child();

	if (child == 0) {
		if ((reader >= 0 && dup2(reader, 8) != 8) || (writer >= 0 && dup2(writer, 9) != 9))
			_exit(126);
		execl("/bin/bash", "bash", "-euo", "pipefail", "-c", script, NULL);
		_exit(127);
	}
	return child;
}

static bool there_is(const char *program)
{
	char path[64];

	snprintf(path, sizeof(path), "/usr/bin/%s", program);
	return access(path, X_OK) == 0;
}

/*
 * @times pieces of 4 MiB go through @put and @take, both at once, and what was
 * sent is what was got: by their sums, or by each byte.
 */
static void move(struct __test_metadata *_metadata, int *reader, int *writer, int times,
		 bool by_byte, const char *put, const char *take)
{
	char source[256], script[1024];
	pid_t from, to;

	EXPECT_EQ(0, status_of(start(-1, -1, "{ seq 1 1000000 || :; } | head -c 4194300 "
				     ">/tmp/qemufile.piece")));
	snprintf(source, sizeof(source),
		 "for i in $(seq 1001 %d); do printf $i; cat /tmp/qemufile.piece; done",
		 1000 + times);
	snprintf(script, sizeof(script), by_byte ? "{ %s; } | %s" :
		 "{ %s; } | tee >(sha256sum >/tmp/qemufile.sent) | %s", source, put);
	from = start(-1, *writer, script);
	snprintf(script, sizeof(script), by_byte ? "%s | cmp - <(%s)" :
		 "%s | sha256sum >/tmp/qemufile.got", take, source);
	to = start(*reader, -1, script);
	ASSERT_LE(0, from);
	ASSERT_LE(0, to);
	/* Theirs alone, so that the writer's end is the end. */
	close(*writer);
	*writer = -1;
	EXPECT_EQ(0, status_of(from));
	EXPECT_EQ(0, status_of(to));
	EXPECT_EQ(4 * MiB * times, length_of(*reader));
	if (!by_byte) {
		EXPECT_EQ(0, status_of(start(-1, -1, "cmp /tmp/qemufile.sent /tmp/qemufile.got")));
	}
	unlink("/tmp/qemufile.piece");
	unlink("/tmp/qemufile.sent");
	unlink("/tmp/qemufile.got");
}

TEST_F(programs, dd_and_cat)
{
	move(_metadata, &self->reader, &self->writer, 2, false, "dd bs=64k status=none >&9", "cat <&8");
}

TEST_F(programs, dd_by_name)
{
	/* Each open is another handle; dd truncates what it opens to write. */
	move(_metadata, &self->reader, &self->writer, 1, false,
	     "dd bs=4k status=none of=/dev/fd/9", "dd bs=64k status=none if=/dev/fd/8");
}

TEST_F(programs, socat)
{
	if (!there_is("socat"))
		SKIP(return, "no socat");
	move(_metadata, &self->reader, &self->writer, 2, false, "socat -u -b 65536 - FD:9",
	     "socat -u -b 65536 FD:8 -");
}

TEST_F(programs, tar)
{
	pid_t from, to;

	if (!there_is("tar"))
		SKIP(return, "no tar");
	from = start(-1, self->writer, "cd /usr/share/common-licenses && tar -cf - . >&9");
	to = start(self->reader, -1, "rm -rf /tmp/qemufile.tar && mkdir /tmp/qemufile.tar && "
		   "cd /tmp/qemufile.tar && tar -xf - <&8");
	close(self->writer);
	self->writer = -1;
	EXPECT_EQ(0, status_of(from));
	EXPECT_EQ(0, status_of(to));
	EXPECT_EQ(0, status_of(start(-1, -1, "diff -r --no-dereference "
				     "/usr/share/common-licenses /tmp/qemufile.tar && "
				     "rm -r /tmp/qemufile.tar")));
	/* The archive is there still, to be listed. */
	ASSERT_EQ(0, lseek(self->reader, 0, SEEK_SET));
	EXPECT_EQ(0, status_of(start(self->reader, -1, "tar -tf - <&8 | grep GPL-2 >/dev/null")));
}

/*
 * Through a stream that holds 4 MiB at a time: 64 MiB, or as much as
 * QEMUFILE_MIB says, as soak.sh does.
 */
TEST_F_TIMEOUT(programs, socat_moves_much_through_little_memory, 200)
{
	const char *mib = getenv("QEMUFILE_MIB");
	struct qemufile_limit limit = { .limit = 4 * MiB };
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };

	if (!there_is("socat"))
		SKIP(return, "no socat");
	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_FLAGS, &flags));
	ASSERT_EQ(0, ioctl(self->writer, QEMUFILE_IOC_SET_LIMIT, &limit));
	move(_metadata, &self->reader, &self->writer, mib ? atoi(mib) / 4 : 16, true,
	     "socat -u -b 262144 - FD:9", "socat -u -b 262144 FD:8 -");
}

TEST_HARNESS_MAIN
