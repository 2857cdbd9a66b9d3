// SPDX-License-Identifier: GPL-2.0
/* Streams with names: directories, links, who gets in, and what a file of a mount can do. */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "harness.h"
#include "mounts.h"

MOUNT_FIXTURE(names, "size=64m,nr_inodes=100")

static bool exists(const char *name)
{
	struct stat st;

	return lstat(at(name), &st) == 0;
}

static long links_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : (long)st.st_nlink;
}

TEST_F(names, a_name_is_a_stream_that_stays)
{
	struct stat st;
	int fd = some("a", 3 * PAGE), again;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, stat(at("a"), &st));
	EXPECT_EQ(S_IFREG | 0644, st.st_mode);
	EXPECT_EQ(3 * PAGE, st.st_size);
	EXPECT_EQ(3 * PAGE / 512, st.st_blocks);
	EXPECT_EQ(1, st.st_nlink);
	fd = open(at("a"), O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(3 * PAGE, right_at(fd, 0, 3 * PAGE, 1));
	again = open(at("a"), O_RDWR);
	ASSERT_LE(0, again);
	ASSERT_EQ(PAGE, put_at(again, PAGE, PAGE, 2));
	EXPECT_EQ(PAGE, right_at(fd, PAGE, PAGE, 2));
	EXPECT_EQ(EEXIST, ERRNO_OF(create("a", O_RDWR | O_EXCL)));
	EXPECT_EQ(ENOENT, ERRNO_OF(open(at("b"), O_RDWR)));
	close(fd);
	close(again);
}

TEST_F(names, an_open_stream_outlives_its_name)
{
	int fd = some("a", PAGE), path;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink(at("a")));
	EXPECT_FALSE(exists("a"));
	EXPECT_EQ(0, links_of(fd));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	EXPECT_EQ(ENOENT, ERRNO_OF(linkat(fd, "", AT_FDCWD, at("b"), AT_EMPTY_PATH)));
	path = reopen(fd, O_PATH);
	close(fd);
	fd = reopen(path, O_RDONLY);
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	close(fd);
	EXPECT_EQ(2, used_inodes());
	close(path);
	EXPECT_EQ(1, used_inodes());
	EXPECT_EQ(0, used_blocks());
}

TEST_F(names, directories_are_made_and_removed)
{
	struct stat st;
	int fd;

	ASSERT_EQ(0, mkdir(at("d"), 0750));
	EXPECT_EQ(EEXIST, ERRNO_OF(mkdir(at("d"), 0750)));
	ASSERT_EQ(0, stat(at("d"), &st));
	EXPECT_EQ(S_IFDIR | 0750, st.st_mode);
	EXPECT_EQ(2, st.st_nlink);
	ASSERT_EQ(0, mkdir(at("d/e"), 0750));
	ASSERT_EQ(0, stat(at("d"), &st));
	EXPECT_EQ(3, st.st_nlink);
	EXPECT_EQ(ENOTEMPTY, ERRNO_OF(rmdir(at("d"))));
	EXPECT_EQ(EISDIR, ERRNO_OF(unlink(at("d/e"))));
	EXPECT_EQ(EISDIR, ERRNO_OF(open(at("d"), O_RDWR)));
	fd = some("d/e/a", 1);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(ENOTDIR, ERRNO_OF(rmdir(at("d/e/a"))));
	ASSERT_EQ(0, unlink(at("d/e/a")));
	EXPECT_EQ(0, rmdir(at("d/e")));
	EXPECT_EQ(0, rmdir(at("d")));
	EXPECT_EQ(1, used_inodes());
}

TEST_F(names, hard_links_are_one_stream)
{
	struct stat a, b;
	int fd = some("a", PAGE);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, link(at("a"), at("b")));
	ASSERT_EQ(0, stat(at("a"), &a));
	ASSERT_EQ(0, stat(at("b"), &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(2, b.st_nlink);
	/* A name costs memory, so it counts. */
	EXPECT_EQ(3, used_inodes());
	EXPECT_EQ(EEXIST, ERRNO_OF(link(at("a"), at("b"))));
	ASSERT_EQ(0, unlink(at("a")));
	EXPECT_EQ(2, used_inodes());
	EXPECT_EQ(1, links_of(fd));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	close(fd);
	ASSERT_EQ(0, unlink(at("b")));
	EXPECT_EQ(1, used_inodes());
}

TEST_F(names, symbolic_links_lead_to_a_stream)
{
	char target[PATH_MAX];
	int fd = some("a", PAGE);

	ASSERT_LE(0, fd);
	close(fd);
	ASSERT_EQ(0, symlink("a", at("s")));
	EXPECT_EQ(1, readlink(at("s"), target, sizeof(target)));
	EXPECT_EQ('a', target[0]);
	fd = open(at("s"), O_RDONLY);
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	close(fd);
	EXPECT_EQ(ELOOP, ERRNO_OF(open(at("s"), O_RDONLY | O_NOFOLLOW)));
	EXPECT_EQ(EEXIST, ERRNO_OF(symlink("b", at("s"))));
	memset(target, 'x', sizeof(target));
	target[PATH_MAX - 1] = '\0';
	EXPECT_EQ(0, symlink(target, at("long")));
	EXPECT_EQ(PATH_MAX - 1, readlink(at("long"), target, sizeof(target)));
	EXPECT_EQ(0, unlink(at("s")));
	EXPECT_EQ(0, unlink(at("long")));
	EXPECT_EQ(2, used_inodes());
}

TEST_F(names, rename_replaces_moves_and_exchanges)
{
	int a = some("a", PAGE), b = some("b", 2 * PAGE), fd;

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(EEXIST, ERRNO_OF(renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("b"), RENAME_NOREPLACE)));
	ASSERT_EQ(0, renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("b"), RENAME_EXCHANGE));
	fd = open(at("b"), O_RDONLY);
	EXPECT_EQ(PAGE, length_of(fd));
	close(fd);
	EXPECT_EQ(EINVAL, ERRNO_OF(renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("c"), RENAME_WHITEOUT)));
	/* One that has another name keeps it. */
	ASSERT_EQ(0, link(at("b"), at("other")));
	EXPECT_EQ(4, used_inodes());
	ASSERT_EQ(0, rename(at("a"), at("b")));
	EXPECT_FALSE(exists("a"));
	EXPECT_EQ(3, used_inodes());
	EXPECT_EQ(1, links_of(a));
	ASSERT_EQ(0, rename(at("b"), at("other")));
	EXPECT_EQ(0, links_of(a));
	close(a);
	EXPECT_EQ(2, used_inodes());
	close(b);

	ASSERT_EQ(0, mkdir(at("d"), 0755));
	ASSERT_EQ(0, mkdir(at("e"), 0755));
	EXPECT_EQ(0, rename(at("other"), at("d/x")));
	EXPECT_EQ(ENOTEMPTY, ERRNO_OF(rename(at("e"), at("d"))));
	EXPECT_EQ(0, rename(at("e"), at("d/e")));
	EXPECT_EQ(EINVAL, ERRNO_OF(rename(at("d"), at("d/e/d"))));
	EXPECT_TRUE(exists("d/e"));
}

TEST_F(names, only_files_directories_and_links_can_be_made)
{
	EXPECT_EQ(EPERM, ERRNO_OF(mknod(at("p"), S_IFIFO | 0600, 0)));
	EXPECT_EQ(EPERM, ERRNO_OF(mknod(at("c"), S_IFCHR | 0600, makedev(1, 3))));
	EXPECT_EQ(EPERM, ERRNO_OF(mknod(at("b"), S_IFBLK | 0600, makedev(7, 0))));
	EXPECT_EQ(EPERM, ERRNO_OF(mknod(at("s"), S_IFSOCK | 0600, 0)));
	EXPECT_EQ(1, used_inodes());
	/* That is another way to create one. */
	EXPECT_EQ(0, mknod(at("f"), S_IFREG | 0600, 0));
	EXPECT_TRUE(exists("f"));
}

TEST_F(names, a_file_without_a_name_can_get_one)
{
	int fd = open(MOUNT_POINT, O_TMPFILE | O_RDWR, 0600), never;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, links_of(fd));
	EXPECT_EQ(2, used_inodes());
	ASSERT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
	ASSERT_EQ(0, linkat(fd, "", AT_FDCWD, at("a"), AT_EMPTY_PATH));
	EXPECT_EQ(2, used_inodes());
	EXPECT_EQ(1, links_of(fd));
	close(fd);
	fd = open(at("a"), O_RDONLY);
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	close(fd);
	never = open(MOUNT_POINT, O_TMPFILE | O_RDWR | O_EXCL, 0600);
	ASSERT_LE(0, never);
	EXPECT_EQ(ENOENT, ERRNO_OF(linkat(never, "", AT_FDCWD, at("b"), AT_EMPTY_PATH)));
	close(never);
	EXPECT_EQ(2, used_inodes());
}

TEST_F(names, a_directory_lists_what_is_in_it)
{
	DIR *dir;
	struct dirent *entry;
	int fd, seen = 0, others = 0;
	off_t sum = 0;

	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		fd = some(name, i + 1);
		ASSERT_LE(0, fd);
		close(fd);
	}
	dir = opendir(MOUNT_POINT);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir))) {
		struct stat st;

		if (entry->d_name[0] != 'f') {
			others++;
			continue;
		}
		seen++;
		EXPECT_EQ(DT_REG, entry->d_type);
		ASSERT_EQ(0, fstatat(dirfd(dir), entry->d_name, &st, 0));
		EXPECT_EQ(st.st_ino, entry->d_ino);
		sum += st.st_size;
	}
	closedir(dir);
	EXPECT_EQ(20, seen);
	EXPECT_EQ(2, others);
	EXPECT_EQ(210, sum);
}

TEST_F(names, what_happens_is_told_by_inotify)
{
	static const struct {
		uint32_t event;
		const char *name;
	} wanted[] = {
		{ IN_CREATE, "a" }, { IN_OPEN, "a" }, { IN_MODIFY, "a" }, { IN_CLOSE_WRITE, "a" },
		{ IN_MOVED_FROM, "a" }, { IN_MOVED_TO, "b" }, { IN_OPEN, "b" }, { IN_ACCESS, "b" },
		{ IN_CLOSE_NOWRITE, "b" }, { IN_DELETE, "b" },
	};
	char events[4096] __attribute__((aligned(8))), byte;
	int watch = inotify_init1(IN_NONBLOCK), fd;
	size_t count = 0;
	ssize_t len;

	ASSERT_LE(0, inotify_add_watch(watch, MOUNT_POINT, IN_ALL_EVENTS));
	fd = create("a", O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, write(fd, "x", 1));
	close(fd);
	ASSERT_EQ(0, rename(at("a"), at("b")));
	fd = open(at("b"), O_RDONLY);
	ASSERT_EQ(1, read(fd, &byte, 1));
	close(fd);
	ASSERT_EQ(0, unlink(at("b")));
	len = read(watch, events, sizeof(events));
	for (ssize_t next = 0; next < len;) {
		struct inotify_event *event = (void *)(events + next);

		ASSERT_GT(ARRAY_LEN(wanted), count);
		EXPECT_EQ(wanted[count].event, event->mask) {
			TH_LOG("event %zu", count);
		}
		EXPECT_STREQ(wanted[count].name, event->name);
		count++;
		next += sizeof(*event) + event->len;
	}
	EXPECT_EQ(ARRAY_LEN(wanted), count);
	close(watch);
}

static bool is_after(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

TEST_F(names, times_are_kept)
{
	const struct timespec set[2] = { { .tv_sec = 1000 }, { .tv_sec = 2000, .tv_nsec = 5 } };
	struct stat before, after;
	char byte;
	int fd = some("a", PAGE);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, futimens(fd, set));
	ASSERT_EQ(0, fstat(fd, &before));
	EXPECT_EQ(1000, before.st_atim.tv_sec);
	EXPECT_EQ(2000, before.st_mtim.tv_sec);
	EXPECT_EQ(5, before.st_mtim.tv_nsec);
	ASSERT_EQ(1, pread(fd, &byte, 1, 0));
	ASSERT_EQ(0, fstat(fd, &after));
	EXPECT_TRUE(is_after(after.st_atim, before.st_atim));
	EXPECT_FALSE(is_after(after.st_mtim, before.st_mtim));
	/* Longer than a tick of the clock. */
	sleep_ms(30);
	ASSERT_EQ(1, pwrite(fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(fd, &after));
	EXPECT_TRUE(is_after(after.st_mtim, before.st_mtim));
	EXPECT_TRUE(is_after(after.st_ctim, before.st_ctim));
	ASSERT_EQ(0, futimens(fd, set));
	close(fd);
	/* By the path alone, and of the directory. */
	ASSERT_EQ(0, truncate(at("a"), 1));
	ASSERT_EQ(0, stat(at("a"), &after));
	EXPECT_TRUE(is_after(after.st_mtim, before.st_mtim));
	ASSERT_EQ(0, utimensat(AT_FDCWD, MOUNT_POINT, set, 0));
	ASSERT_EQ(0, unlink(at("a")));
	ASSERT_EQ(0, stat(MOUNT_POINT, &after));
	EXPECT_TRUE(is_after(after.st_mtim, before.st_mtim));
}

/* Runs a call as a user without rights, and returns its errno. */
#define AS_NOBODY(call) ({							\
	pid_t child_ = fork_child();						\
										\
	if (child_ == 0) {							\
		if (setgid(65534) || setuid(65534))				\
			_exit(255);						\
		_exit(ERRNO_OF(call));						\
	}									\
	status_of(child_);							\
})

TEST_F(names, permissions_say_who_gets_in)
{
	struct stat st;
	int fd = some("a", PAGE);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, AS_NOBODY(open(at("a"), O_RDONLY)));
	EXPECT_EQ(EACCES, AS_NOBODY(open(at("a"), O_RDWR)));
	EXPECT_EQ(EACCES, AS_NOBODY(truncate(at("a"), 0)));
	EXPECT_EQ(EACCES, AS_NOBODY(create("b", O_RDWR)));
	EXPECT_EQ(EACCES, AS_NOBODY(unlink(at("a"))));
	EXPECT_EQ(EPERM, AS_NOBODY(chmod(at("a"), 0666)));
	EXPECT_EQ(EPERM, AS_NOBODY(chown(at("a"), 65534, -1)));
	ASSERT_EQ(0, chmod(at("a"), 0600));
	EXPECT_EQ(EACCES, AS_NOBODY(open(at("a"), O_RDONLY)));
	ASSERT_EQ(0, chown(at("a"), 65534, 65534));
	EXPECT_EQ(0, AS_NOBODY(open(at("a"), O_RDWR)));
	ASSERT_EQ(0, stat(at("a"), &st));
	EXPECT_EQ(65534, st.st_uid);
	EXPECT_EQ(65534, st.st_gid);
	ASSERT_EQ(0, chmod(MOUNT_POINT, 01777));
	EXPECT_EQ(0, AS_NOBODY(create("b", O_RDWR)));
	ASSERT_EQ(0, stat(at("b"), &st));
	EXPECT_EQ(65534, st.st_uid);
	umask(027);
	close(fd);
	fd = open(at("c"), O_CREAT | O_RDWR, 0666);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(S_IFREG | 0640, st.st_mode);
	close(fd);
}

/* Nobody would take the bits away when the file is written to. */
TEST_F(names, a_stream_is_never_set_uid)
{
	struct stat st;
	int fd = open(at("a"), O_CREAT | O_RDWR, 06755);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(S_IFREG | 0755, st.st_mode);
	EXPECT_EQ(EPERM, ERRNO_OF(fchmod(fd, 04755)));
	EXPECT_EQ(EPERM, ERRNO_OF(fchmod(fd, 02755)));
	EXPECT_EQ(0, fchmod(fd, 01755));
	close(fd);
}

/* A new file gets its group from such a directory. */
TEST_F(names, a_directory_may_be_set_gid)
{
	struct stat st;
	int fd;

	ASSERT_EQ(0, mkdir(at("d"), 0755));
	ASSERT_EQ(0, chown(at("d"), -1, 1234));
	ASSERT_EQ(0, chmod(at("d"), 02755));
	fd = create("d/a", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(1234, st.st_gid);
	close(fd);
}

TEST_F(names, attributes_and_lists_of_access_are_eopnotsupp)
{
	/* A version and no entries: none. */
	static const uint32_t acl[] = { 2 };
	char value[16];
	int fd = some("a", 1);

	ASSERT_LE(0, fd);
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(setxattr(at("a"), "user.x", "y", 1, 0)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(getxattr(at("a"), "user.x", value, sizeof(value))));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(setxattr(at("a"), "trusted.x", "y", 1, 0)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(getxattr(at("a"), "system.posix_acl_access", value,
						sizeof(value))));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(setxattr(at("a"), "system.posix_acl_access", acl,
						sizeof(acl), 0)));
	close(fd);
}

TEST_F(names, leases_are_einval_and_handles_of_files_eopnotsupp)
{
	struct file_handle handle = { .handle_bytes = 0 };
	int fd = some("a", 1), mount_id;

	ASSERT_LE(0, fd);
	EXPECT_EQ(EINVAL, ERRNO_OF(fcntl(fd, F_SETLEASE, F_WRLCK)));
	EXPECT_EQ(EOPNOTSUPP, ERRNO_OF(name_to_handle_at(AT_FDCWD, at("a"), &handle, &mount_id, 0)));
	close(fd);
}

TEST_F(names, a_reopen_gives_what_the_path_gives)
{
	int fd = some("a", PAGE), again;

	ASSERT_LE(0, fd);
	close(fd);
	fd = open(at("a"), O_RDONLY);
	ASSERT_LE(0, fd);
	again = reopen(fd, O_RDWR);
	EXPECT_LE(0, again);
	close(again);
	EXPECT_EQ(0, AS_NOBODY(reopen(fd, O_RDONLY)));
	EXPECT_EQ(EACCES, AS_NOBODY(reopen(fd, O_RDWR)));
	EXPECT_EQ(EBADF, AS_NOBODY(ftruncate(fd, 0) ? (errno = errno == EINVAL ? EBADF : errno, -1) : 0));
	close(fd);
}

TEST_F(names, truncation_by_the_path)
{
	struct stat st;
	int fd = some("a", 2 * PAGE);

	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(2, used_blocks());
	ASSERT_EQ(0, truncate(at("a"), PAGE));
	EXPECT_EQ(1, used_blocks());
	ASSERT_EQ(0, truncate(at("a"), 10 * PAGE));
	ASSERT_EQ(0, stat(at("a"), &st));
	EXPECT_EQ(10 * PAGE, st.st_size);
	EXPECT_EQ(PAGE / 512, st.st_blocks);
	EXPECT_EQ(EINVAL, ERRNO_OF(truncate(at("a"), -1)));
	fd = open(at("a"), O_WRONLY | O_TRUNC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, length_of(fd));
	EXPECT_EQ(0, used_blocks());
	close(fd);
}

TEST_F(names, a_sealed_stream_is_not_truncated)
{
	int fd = some("a", PAGE), again;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_flags(fd, QEMUFILE_STREAM_SEALED));
	close(fd);
	EXPECT_EQ(EPERM, ERRNO_OF(truncate(at("a"), 0)));
	EXPECT_EQ(EPERM, ERRNO_OF(open(at("a"), O_WRONLY | O_TRUNC)));
	again = open(at("a"), O_RDWR);
	ASSERT_LE(0, again);
	EXPECT_EQ(EPERM, ERRNO_OF(write(again, "x", 1)));
	EXPECT_EQ(PAGE, right_at(again, 0, PAGE, 1));
	close(again);
	/* It goes as any file goes. */
	EXPECT_EQ(0, unlink(at("a")));
}

TEST_F(names, a_handle_is_one_on_the_same_file)
{
	struct stat a, b;
	char path[PATH_MAX], link[64];
	int fd = some("a", PAGE), handle, reader;

	ASSERT_LE(0, fd);
	handle = open_handle(fd, O_RDWR);
	ASSERT_LE(0, handle);
	ASSERT_EQ(0, fstat(fd, &a));
	ASSERT_EQ(0, fstat(handle, &b));
	EXPECT_EQ(a.st_ino, b.st_ino);
	EXPECT_EQ(a.st_dev, b.st_dev);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", handle);
	memset(path, 0, sizeof(path));
	ASSERT_LT(0, readlink(link, path, sizeof(path) - 1));
	EXPECT_STREQ(at("a"), path);
	EXPECT_EQ(2, used_inodes());
	reader = open_handle(fd, O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(EACCES, ERRNO_OF(open_handle(reader, O_RDWR)));
	ASSERT_EQ(PAGE, put_at(handle, 0, PAGE, 2));
	EXPECT_EQ(PAGE, right_at(reader, 0, PAGE, 2));
	close(fd);
	close(handle);
	close(reader);
}

TEST_F(names, a_clone_is_of_the_same_mount_and_can_get_a_name)
{
	struct stat a, b;
	int fd = some("a", 4 * PAGE), clone, reader;

	ASSERT_LE(0, fd);
	clone = open_clone(fd, O_RDWR);
	ASSERT_LE(0, clone);
	ASSERT_EQ(0, fstat(fd, &a));
	ASSERT_EQ(0, fstat(clone, &b));
	EXPECT_NE(a.st_ino, b.st_ino);
	EXPECT_EQ(a.st_dev, b.st_dev);
	EXPECT_EQ(S_IFREG | 0600, b.st_mode);
	EXPECT_EQ(0, b.st_nlink);
	/* Pages that two streams share count in both. */
	EXPECT_EQ(8, used_blocks());
	EXPECT_EQ(3, used_inodes());
	ASSERT_EQ(PAGE, put_at(clone, 0, PAGE, 2));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	ASSERT_EQ(0, linkat(clone, "", AT_FDCWD, at("b"), AT_EMPTY_PATH));
	EXPECT_EQ(3, used_inodes());
	EXPECT_EQ(ENOENT, AS_NOBODY(linkat(clone, "", AT_FDCWD, at("c"), AT_EMPTY_PATH)));
	close(clone);
	reader = open(at("b"), O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(PAGE, right_at(reader, 0, PAGE, 2));
	EXPECT_EQ(3 * PAGE, right_at(reader, PAGE, 3 * PAGE, 1));
	close(reader);
	ASSERT_EQ(0, unlink(at("b")));
	EXPECT_EQ(4, used_blocks());
	/* One that nobody names goes with its last descriptor. */
	clone = open_clone(fd, O_RDONLY);
	ASSERT_LE(0, clone);
	close(clone);
	EXPECT_EQ(4, used_blocks());
	EXPECT_EQ(2, used_inodes());
	close(fd);
}

/* Whoever can only read must not use up what the mount has. */
TEST_F(names, a_reader_clones_only_where_it_could_make_files)
{
	int fd = some("a", PAGE), reader;

	ASSERT_LE(0, fd);
	reader = open(at("a"), O_RDONLY);
	ASSERT_LE(0, reader);
	EXPECT_EQ(EACCES, AS_NOBODY(open_clone(reader, O_RDONLY)));
	/* It can write to the file, and so use as much. */
	EXPECT_EQ(0, AS_NOBODY(open_clone(fd, O_RDONLY)));
	EXPECT_EQ(2, used_inodes());
	ASSERT_EQ(0, chmod(MOUNT_POINT, 0777));
	EXPECT_EQ(0, AS_NOBODY(open_clone(reader, O_RDONLY)));
	EXPECT_EQ(2, used_inodes());
	close(reader);
	close(fd);
}

/* Any length in the same time: the target shares the source's tree. */
TEST_F(names, reflinks_share_the_pages)
{
	int a = some("a", 8 * MiB), b = create("b", O_RDWR), c = create("c", O_RDWR);
	struct stat st;

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, ioctl(b, FICLONE, a));
	EXPECT_EQ(8 * MiB, right_at(b, 0, 8 * MiB, 1));
	ASSERT_EQ(0, fstat(b, &st));
	EXPECT_EQ(8 * MiB, st.st_size);
	ASSERT_EQ(0, clone_range(c, a, MiB, MiB, 0));
	ASSERT_EQ(PAGE, put_at(b, 0, PAGE, 2));
	EXPECT_EQ(PAGE, right_at(a, 0, PAGE, 1));
	EXPECT_EQ(MiB, length_of(c));
	EXPECT_EQ(17 * MiB / PAGE, used_blocks());
	/* The VFS has this done by reflink or splice. */
	EXPECT_EQ(PAGE, copy_file_range(a, &(off_t){ 0 }, c, &(off_t){ PAGE }, PAGE, 0));
	EXPECT_EQ(PAGE, right_at(c, PAGE, PAGE, 1) >= 0 ? PAGE : 0);
	close(a);
	close(b);
	close(c);
}

TEST_F(names, nameless_streams_are_of_another_file_system)
{
	int named = some("a", PAGE), device = open_file(O_RDWR);

	ASSERT_LE(0, named);
	ASSERT_LE(0, device);
	ASSERT_EQ(PAGE, put_at(device, 0, PAGE, 2));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(named, FICLONE, device)));
	EXPECT_EQ(EXDEV, ERRNO_OF(linkat(device, "", AT_FDCWD, at("b"), AT_EMPTY_PATH)));
	EXPECT_EQ(EXDEV, ERRNO_OF(copy_file_range(device, &(off_t){ 0 }, named, &(off_t){ 0 },
						  PAGE, 0)));
	EXPECT_EQ(PAGE, sendfile(named, device, &(off_t){ 0 }, PAGE));
	EXPECT_EQ(PAGE, right_at(named, 0, PAGE, 2));
	close(named);
	close(device);
}

TEST_F(names, a_mapping_is_of_the_file_and_keeps_it)
{
	int fd = some("a", 2 * PAGE), writer;
	char *memory, line[512];
	bool found = false;
	FILE *maps;

	ASSERT_LE(0, fd);
	close(fd);
	fd = open(at("a"), O_RDONLY);
	memory = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	close(fd);
	maps = fopen("/proc/self/maps", "re");
	while (maps && fgets(line, sizeof(line), maps))
		found |= strstr(line, at("a")) != NULL;
	fclose(maps);
	EXPECT_TRUE(found);
	writer = open(at("a"), O_RDWR);
	ASSERT_EQ(PAGE, put_at(writer, PAGE, PAGE, 2));
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
	EXPECT_EQ(PAGE, right(memory + PAGE, PAGE, PAGE, 2));
	/* It is nobody who reads or writes. */
	EXPECT_EQ(1, info_of(writer).readers);
	close(writer);
	EXPECT_EQ(EBUSY, ERRNO_OF(umount(MOUNT_POINT)));
	ASSERT_EQ(0, unlink(at("a")));
	EXPECT_EQ(PAGE, right(memory, PAGE, 0, 1));
	munmap(memory, 2 * PAGE);
	EXPECT_EQ(0, used_blocks());
}

static atomic_bool over;

static void *rename_about(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		rename(at("a"), at("b"));
		rename(at("b"), at("a"));
		renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("c"), RENAME_EXCHANGE);
	}
	return NULL;
}

static void *remove_about(void *arg)
{
	(void)arg;
	while (!atomic_load(&over)) {
		unlink(at("b"));
		link(at("a"), at("d"));
		unlink(at("d"));
		truncate(at("a"), 100);
	}
	return NULL;
}

/* What is open works, whatever becomes of its name; and nothing is lost in the books. */
TEST_F(names, names_change_while_files_are_opened)
{
	pthread_t threads[2];
	long long end = now_ms() + race_ms();

	ASSERT_EQ(0, pthread_create(&threads[0], NULL, rename_about, NULL));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, remove_about, NULL));
	while (now_ms() < end) {
		int a = create("a", O_RDWR), c = create("c", O_RDWR), clone, handle;

		if (a >= 0) {
			clone = open_clone(a, O_RDWR);
			handle = open_handle(a, O_RDWR);
			EXPECT_LE(0, clone);
			EXPECT_LE(0, handle);
			EXPECT_EQ(PAGE, put_at(clone, 0, PAGE, 1));
			linkat(clone, "", AT_FDCWD, at("b"), AT_EMPTY_PATH);
			EXPECT_EQ(PAGE, right_at(clone, 0, PAGE, 1) ? PAGE : 0);
			close(clone);
			close(handle);
			close(a);
		}
		close(c);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (char name[] = "a"; name[0] <= 'd'; name[0]++)
		unlink(at(name));
	EXPECT_EQ(1, used_inodes());
	EXPECT_EQ(0, used_blocks());
}

TEST_HARNESS_MAIN
