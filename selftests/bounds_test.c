// SPDX-License-Identifier: GPL-2.0
/* What a mount may hold: memory and inodes, and that what is freed comes back. */
#include <linux/fs.h>

#include "harness.h"
#include "mounts.h"
#include "ram.h"

MOUNT_FIXTURE(bounds, "size=64m,nr_inodes=100")

TEST_F(bounds, space_runs_out_and_comes_back)
{
	int a, b;

	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "size=1m"));
	a = create("a", O_RDWR);
	b = create("b", O_RDWR);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(768 * KiB, put_at(a, 0, 768 * KiB, 1));
	/* What fits is written. */
	EXPECT_EQ(256 * KiB, put_at(b, 0, 512 * KiB, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(b, "x", 1, 256 * KiB)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fallocate(b, 0, MiB, PAGE)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(ioctl(b, FICLONE, a)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(a, O_RDWR)));
	/* There is room in what is there. */
	EXPECT_EQ(PAGE, put_at(b, 0, PAGE, 2));
	EXPECT_EQ(256, used_blocks());
	EXPECT_EQ(0, punch(a, 0, 256 * KiB));
	EXPECT_EQ(192, used_blocks());
	EXPECT_EQ(256 * KiB, put_at(b, 256 * KiB, 512 * KiB, 1));
	ASSERT_EQ(0, ftruncate(a, 0));
	EXPECT_EQ(128, used_blocks());
	close(b);
	ASSERT_EQ(0, unlink(at("b")));
	EXPECT_EQ(0, used_blocks());
	close(a);
}

TEST_F(bounds, stores_through_a_mapping_count)
{
	char *memory;
	int fd = create("a", O_RDWR), clone;

	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "size=32k"));
	ASSERT_EQ(0, ftruncate(fd, MiB));
	memory = map_ram(fd, MiB);
	ASSERT_NE(NULL, memory);
	/* A hole that is looked at is a page of the mount, which a store does not need again. */
	EXPECT_EQ(0, touch(memory, false));
	EXPECT_EQ(1, used_blocks());
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(0, touch(memory + i * PAGE, true));
	EXPECT_EQ(8, used_blocks());
	EXPECT_EQ(SIGBUS, touch(memory + 8 * PAGE, true));
	EXPECT_EQ(SIGBUS, touch(memory + 8 * PAGE, false));
	EXPECT_EQ(8, used_blocks());
	/* A clone counts in full, and a page of it that is copied not again. */
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(fd, O_RDWR)));
	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "size=64k"));
	clone = open_clone(fd, O_RDWR);
	ASSERT_LE(0, clone);
	EXPECT_EQ(16, used_blocks());
	EXPECT_EQ(0, touch(memory, true));
	EXPECT_EQ(16, used_blocks());
	ASSERT_EQ(0, punch(fd, 0, MiB));
	EXPECT_EQ(8, used_blocks());
	EXPECT_EQ(0, touch(memory + 9 * PAGE, true));
	EXPECT_EQ(9, used_blocks());
	munmap(memory, MiB);
	close(clone);
	EXPECT_EQ(1, used_blocks());
	close(fd);
}

/* The file of the mapping writes to the mount, as its descriptor did. */
TEST_F(bounds, a_writable_mapping_keeps_the_mount_writable)
{
	int fd = some("a", PAGE);
	char *memory;

	ASSERT_LE(0, fd);
	memory = map_ram(fd, PAGE);
	ASSERT_NE(NULL, memory);
	close(fd);
	EXPECT_EQ(EBUSY, ERRNO_OF(mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT | MS_RDONLY, "")));
	EXPECT_EQ(0, touch(memory, true));
	munmap(memory, PAGE);
	EXPECT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT | MS_RDONLY, ""));
}

TEST_F(bounds, inodes_run_out_and_come_back)
{
	char name[16];
	int fd;

	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "nr_inodes=4"));
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fd = create(name, O_RDWR);
		ASSERT_LE(0, fd);
		close(fd);
	}
	EXPECT_EQ(ENOSPC, ERRNO_OF(create("x", O_RDWR)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(mkdir(at("x"), 0755)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(symlink("y", at("x"))));
	EXPECT_EQ(ENOSPC, ERRNO_OF(link(at("f0"), at("x"))));
	EXPECT_EQ(ENOSPC, ERRNO_OF(open(MOUNT_POINT, O_TMPFILE | O_RDWR, 0600)));
	fd = open(at("f0"), O_RDWR);
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(fd, O_RDWR)));
	close(fd);
	EXPECT_EQ(4, used_inodes());
	ASSERT_EQ(0, unlink(at("f1")));
	EXPECT_EQ(0, mkdir(at("x"), 0755));
	EXPECT_EQ(4, used_inodes());
}

TEST_F(bounds, what_is_reserved_past_the_end_can_be_punched)
{
	int fd = create("a", O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MiB));
	EXPECT_EQ(256, used_blocks());
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, MiB / 2));
	EXPECT_EQ(128, used_blocks());
	EXPECT_EQ(0, length_of(fd));
	ASSERT_EQ(5, pwrite(fd, "bytes", 5, 0));
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 1, INT64_MAX - 1));
	EXPECT_EQ(1, used_blocks());
	EXPECT_EQ(5, length_of(fd));
	close(fd);
}

TEST_F(bounds, what_is_drained_is_given_back_to_the_mount)
{
	int writer = create("a", O_RDWR), reader;
	char buf[PAGE];

	ASSERT_LE(0, writer);
	ASSERT_EQ(0, set_flags(writer, QEMUFILE_STREAM_DRAIN));
	reader = open(at("a"), O_RDONLY);
	ASSERT_LE(0, reader);
	ASSERT_EQ(64 * KiB, put_at(writer, 0, 64 * KiB, 1));
	EXPECT_EQ(16, used_blocks());
	for (int i = 0; i < 16; i++)
		ASSERT_EQ(PAGE, read(reader, buf, PAGE));
	ASSERT_EQ(0, lseek(reader, 0, SEEK_CUR) == 64 * KiB ? 0 : -1);
	EXPECT_GE(1, used_blocks());
	close(reader);
	close(writer);
}

/* As in tmpfs: a mapping of a hole takes a page of the mount, or there is a SIGBUS. */
TEST_F(bounds, holes_that_are_touched_count)
{
	int fd = create("a", O_RDWR), touched = 0;
	struct stat st;
	char *memory;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, "size=64k"));
	ASSERT_EQ(0, ftruncate(fd, MiB));
	memory = mmap(NULL, MiB, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	while (touched < MiB / PAGE && touch(memory + touched * PAGE, false) == 0)
		EXPECT_EQ(0, memory[touched++ * PAGE]);
	EXPECT_EQ(16, touched);
	EXPECT_EQ(16, used_blocks());
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(64 * KiB / 512, st.st_blocks);
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(fd, "x", 1, 512 * KiB)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(fd, O_RDONLY)));
	/* They are holes still. */
	EXPECT_EQ(ENXIO, ERRNO_OF(lseek(fd, 0, SEEK_DATA)));
	/* Their pages are paid for, so the holes can be filled. */
	EXPECT_EQ(8 * PAGE, put_at(fd, 0, 8 * PAGE, 1));
	EXPECT_EQ(0, fallocate(fd, 0, 8 * PAGE, 2 * PAGE));
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_ZERO_RANGE, 10 * PAGE, PAGE));
	EXPECT_EQ(PAGE, pwrite(fd, memory, 2 * PAGE, 15 * PAGE));
	EXPECT_EQ(8 * PAGE, right(memory, 8 * PAGE, 0, 1));
	EXPECT_EQ(16, used_blocks());
	munmap(memory, MiB);
	ASSERT_EQ(0, punch(fd, 0, 32 * KiB));
	EXPECT_EQ(8, used_blocks());
	EXPECT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
	/* One that is filled counts once. */
	EXPECT_EQ(PAGE, put_at(fd, 32 * KiB, PAGE, 1));
	EXPECT_EQ(9, used_blocks());
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_EQ(0, used_blocks());
	close(fd);
}

TEST_HARNESS_MAIN
