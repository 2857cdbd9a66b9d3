// SPDX-License-Identifier: GPL-2.0
/* Mounting the file system of streams: options, bounds, and what keeps the module. */
#include <sys/sysinfo.h>
#include <linux/mount.h>

#include "harness.h"
#include "mounts.h"

FIXTURE(mount) {
	int unused;
};

FIXTURE_SETUP(mount)
{
	ASSERT_EQ(0, prepare_mounts());
}

FIXTURE_TEARDOWN(mount)
{
	umount2(MOUNT_POINT, MNT_DETACH);
}

static bool shows(const char *option)
{
	return strstr(shown_options(), option) != NULL;
}

static unsigned long long total_pages(void)
{
	struct sysinfo info;

	return sysinfo(&info) ? 0 : (unsigned long long)info.totalram * info.mem_unit / PAGE;
}

TEST_F(mount, has_half_of_the_memory_by_default)
{
	struct statfs figures;
	struct stat root;

	ASSERT_EQ(0, mount_names(NULL));
	ASSERT_EQ(0, statfs(MOUNT_POINT, &figures));
	EXPECT_EQ(0x51454d46, figures.f_type);
	EXPECT_EQ(PAGE, figures.f_bsize);
	EXPECT_EQ(NAME_MAX, figures.f_namelen);
	EXPECT_EQ((total_pages() + 1) / 2, figures.f_blocks);
	EXPECT_EQ(figures.f_blocks, figures.f_bfree);
	EXPECT_EQ(figures.f_blocks, figures.f_bavail);
	EXPECT_EQ(figures.f_blocks, figures.f_files);
	/* The root directory is one. */
	EXPECT_EQ(figures.f_files - 1, figures.f_ffree);
	ASSERT_EQ(0, stat(MOUNT_POINT, &root));
	EXPECT_EQ(S_IFDIR | 0755, root.st_mode);
	EXPECT_EQ(geteuid(), root.st_uid);
	EXPECT_EQ(2, root.st_nlink);
}

TEST_F(mount, options_are_those_of_tmpfs)
{
	struct statfs figures;
	struct stat root;

	ASSERT_EQ(0, mount_names("size=10000,nr_inodes=2k,mode=1770,uid=12,gid=34"));
	ASSERT_EQ(0, statfs(MOUNT_POINT, &figures));
	EXPECT_EQ(3, figures.f_blocks);
	EXPECT_EQ(2048, figures.f_files);
	ASSERT_EQ(0, stat(MOUNT_POINT, &root));
	EXPECT_EQ(S_IFDIR | 01770, root.st_mode);
	EXPECT_EQ(12, root.st_uid);
	EXPECT_EQ(34, root.st_gid);
	EXPECT_TRUE(shows(",size=12k,"));
	EXPECT_TRUE(shows(",nr_inodes=2048,"));
	EXPECT_TRUE(shows(",mode=1770,"));
	EXPECT_TRUE(shows(",uid=12,"));
	EXPECT_TRUE(shows(",gid=34"));
	EXPECT_FALSE(shows("follow"));
}

TEST_F(mount, a_size_may_be_a_share_of_the_memory)
{
	struct statfs figures;

	ASSERT_EQ(0, mount_names("size=25%,follow"));
	ASSERT_EQ(0, statfs(MOUNT_POINT, &figures));
	EXPECT_EQ((total_pages() + 3) / 4, figures.f_blocks);
	EXPECT_TRUE(shows(",follow"));
}

/* As in tmpfs, where 0 blocks are shown then. */
TEST_F(mount, zero_is_no_limit)
{
	struct statfs figures;
	int fd;

	ASSERT_EQ(0, mount_names("size=0,nr_inodes=0"));
	EXPECT_TRUE(shows(",size=0k,nr_inodes=0"));
	fd = create("a", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(MiB, put_at(fd, 0, MiB, 1));
	ASSERT_EQ(0, statfs(MOUNT_POINT, &figures));
	EXPECT_EQ(0, figures.f_blocks);
	EXPECT_EQ(0, figures.f_files);
	close(fd);
}

TEST_F(mount, wrong_options_are_einval)
{
	static const char *const wrong[] = {
		"size", "size=", "size=x", "size=1x", "size=-1", "size=16e", "size=1m1", "size=%",
		"size=18446744073709551616", "nr_inodes", "nr_inodes=-1", "nr_inodes=1%", "mode=8",
		"mode=10000", "mode=x", "uid=x", "uid=-1", "gid=y", "follow=1", "nofollow=0", "nonsense",
		"size=1m,nonsense=1",
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		EXPECT_EQ(EINVAL, ERRNO_OF(mount_names(wrong[i]))) {
			TH_LOG("%s", wrong[i]);
		}
	}
}

static int open_fs(void)
{
	return syscall(SYS_fsopen, "qemufile", FSOPEN_CLOEXEC);
}

static int configure(int fd, const char *name, const char *value)
{
	return syscall(SYS_fsconfig, fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, name,
		       value, 0);
}

/* Whether the next message of fsconfig(2) is this one, and the last. */
static bool says(int fd, const char *message)
{
	char text[256];
	ssize_t len = read(fd, text, sizeof(text) - 1);
	bool is = len > 0;

	text[is ? len : 0] = '\0';
	is = is && strcmp(text, message) == 0;
	if (!is)
		fprintf(stderr, "# it says: %s\n", text);
	return is && ERRNO_OF(read(fd, text, sizeof(text))) == ENODATA;
}

TEST_F(mount, a_wrong_option_is_explained)
{
	int fd = open_fs();

	ASSERT_LE(0, fd);
	EXPECT_EQ(EINVAL, ERRNO_OF(configure(fd, "size", "much")));
	EXPECT_TRUE(says(fd, "e qemufile: Bad value for 'size'\n"));
	EXPECT_EQ(EINVAL, ERRNO_OF(configure(fd, "nr_inodes", "1%")));
	EXPECT_TRUE(says(fd, "e qemufile: Bad value for 'nr_inodes'\n"));
	EXPECT_EQ(EINVAL, ERRNO_OF(configure(fd, "mode", "77777")));
	EXPECT_TRUE(says(fd, "e qemufile: Bad value for 'mode'\n"));
	EXPECT_EQ(EINVAL, ERRNO_OF(configure(fd, "nonsense", NULL)));
	EXPECT_TRUE(says(fd, "e qemufile: Unknown parameter 'nonsense'\n"));
	/* It goes on with the rest. */
	EXPECT_EQ(0, configure(fd, "size", "1m"));
	EXPECT_EQ(0, configure(fd, "follow", NULL));
	EXPECT_EQ(0, configure(fd, "source", "anything"));
	EXPECT_EQ(0, syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	close(fd);
}

TEST_F(mount, a_context_that_is_given_up_leaves_nothing)
{
	int before = references(), fd = open_fs();

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, configure(fd, "size", "1m"));
	close(fd);
	EXPECT_EQ(before, references());
}

static int remount(const char *options)
{
	return mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT, options);
}

TEST_F(mount, remount_changes_the_bounds_but_not_below_what_is_used)
{
	int fd;

	ASSERT_EQ(0, mount_names("size=1m,nr_inodes=10"));
	fd = create("a", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(MiB, put_at(fd, 0, MiB, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(fd, "x", 1, MiB)));
	ASSERT_EQ(0, remount("size=2m"));
	EXPECT_TRUE(shows(",size=2048k,nr_inodes=10"));
	EXPECT_EQ(MiB, put_at(fd, MiB, MiB, 1));
	EXPECT_EQ(EINVAL, ERRNO_OF(remount("size=1m")));
	EXPECT_EQ(EINVAL, ERRNO_OF(remount("nr_inodes=1")));
	EXPECT_TRUE(shows(",size=2048k,nr_inodes=10"));
	ASSERT_EQ(0, ftruncate(fd, MiB));
	EXPECT_EQ(0, remount("size=1m,nr_inodes=2"));
	EXPECT_EQ(ENOSPC, ERRNO_OF(create("b", O_RDWR)));
	/* Without a limit there is none to be below of, and it can be set again. */
	EXPECT_EQ(0, remount("size=0"));
	EXPECT_EQ(0, remount("size=3m"));
	EXPECT_EQ(EINVAL, ERRNO_OF(remount("nonsense")));
	/* What cannot change is left as it is. */
	EXPECT_EQ(0, remount("mode=777,uid=5"));
	EXPECT_FALSE(shows("mode="));
	close(fd);
}

TEST_F(mount, read_only_is_erofs)
{
	struct qemufile_open clone = { .mode = QEMUFILE_MODE_READ };
	int fd;

	ASSERT_EQ(0, mount_names(NULL));
	fd = create("a", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(EBUSY, ERRNO_OF(mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT | MS_RDONLY, NULL)));
	close(fd);
	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_REMOUNT | MS_RDONLY, NULL));
	EXPECT_EQ(EROFS, ERRNO_OF(open(at("a"), O_WRONLY)));
	EXPECT_EQ(EROFS, ERRNO_OF(create("b", O_RDWR)));
	EXPECT_EQ(EROFS, ERRNO_OF(mkdir(at("d"), 0700)));
	EXPECT_EQ(EROFS, ERRNO_OF(truncate(at("a"), 1)));
	fd = open(at("a"), O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(EROFS, ERRNO_OF(ioctl(fd, QEMUFILE_IOC_CLONE, &clone)));
	close(fd);
}

TEST_F(mount, several_have_nothing_in_common)
{
	int a, b;

	ASSERT_EQ(0, mount_names("size=1m"));
	ASSERT_EQ(0, mkdir(at("d"), 0755));
	ASSERT_EQ(0, mount("none", at("d"), "qemufile", 0, "size=2m"));
	a = create("a", O_RDWR);
	b = create("d/a", O_RDWR);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(MiB, put_at(a, 0, MiB, 1));
	EXPECT_EQ(0, length_of(b));
	EXPECT_EQ(2 * MiB, put_at(b, 0, 2 * MiB, 1));
	EXPECT_EQ(EXDEV, ERRNO_OF(ioctl(b, FICLONE, a)));
	EXPECT_EQ(EXDEV, ERRNO_OF(rename(at("a"), at("d/b"))));
	EXPECT_EQ(EXDEV, ERRNO_OF(link(at("a"), at("d/b"))));
	close(a);
	close(b);
	EXPECT_EQ(0, umount(at("d")));
}

TEST_F(mount, nosuid_nodev_noexec_are_honoured)
{
	char *memory;
	int fd;

	ASSERT_EQ(0, mount("none", MOUNT_POINT, "qemufile", MS_NOEXEC | MS_NODEV | MS_NOSUID, NULL));
	EXPECT_TRUE(shows("nosuid"));
	EXPECT_TRUE(shows("nodev"));
	EXPECT_TRUE(shows("noexec"));
	fd = open(at("a"), O_CREAT | O_RDWR, 0755);
	ASSERT_LE(0, fd);
	ASSERT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
	close(fd);
	EXPECT_EQ(EACCES, ERRNO_OF(execl(at("a"), "a", NULL)));
	fd = open(at("a"), O_RDONLY);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EPERM, errno);
	memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(EACCES, ERRNO_OF(mprotect(memory, PAGE, PROT_READ | PROT_EXEC)));
	munmap(memory, PAGE);
	close(fd);
}

TEST_F(mount, a_program_can_be_run_of_it_otherwise)
{
	pid_t child;
	int fd;

	ASSERT_EQ(0, mount_names(NULL));
	fd = open(at("run"), O_CREAT | O_WRONLY, 0755);
	ASSERT_LE(0, fd);
	dprintf(fd, "#!/bin/sh\nexit 7\n");
	close(fd);
	child = fork_child();
	if (child == 0) {
		execl(at("run"), "run", NULL);
		_exit(1);
	}
	EXPECT_EQ(7, status_of(child));
}

/* The rest of the namespace sees what becomes of it. */
TEST_F(mount, is_eperm_in_a_user_namespace)
{
	pid_t child = fork_child();

	if (child == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			_exit(100);
		_exit(mount("none", "/tmp", "qemufile", 0, NULL) ? errno : 0);
	}
	EXPECT_EQ(EPERM, status_of(child));
}

static int remove_module(void)
{
	return syscall(SYS_delete_module, "qemufile", O_NONBLOCK);
}

static bool references_are(int count)
{
	for (int i = 0; i < 2000 && references() != count; i++)
		sleep_ms(1);
	return references() == count;
}

TEST_F(mount, keeps_the_module_until_the_last_file_is_gone)
{
	int before = references(), fd;

	if (before < 0)
		SKIP(return, "the driver is no module that can be unloaded here");
	ASSERT_EQ(0, mount_names(NULL));
	EXPECT_LT(before, references());
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	fd = create("a", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(EBUSY, ERRNO_OF(umount(MOUNT_POINT)));
	ASSERT_EQ(0, umount2(MOUNT_POINT, MNT_DETACH));
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	EXPECT_EQ(PAGE, put_at(fd, 0, PAGE, 1));
	EXPECT_EQ(PAGE, right_at(fd, 0, PAGE, 1));
	close(fd);
	EXPECT_TRUE(references_are(before));
}

/* Also one for which the driver is never called. */
TEST_F(mount, a_path_of_a_file_keeps_the_module)
{
	int before = references(), file = open_file(O_RDWR), path;

	if (before < 0)
		SKIP(return, "the driver is no module that can be unloaded here");
	ASSERT_LE(0, file);
	path = reopen(file, O_PATH);
	ASSERT_LE(0, path);
	ASSERT_EQ(0, close(file));
	EXPECT_TRUE(references_are(before + 1));
	EXPECT_EQ(EWOULDBLOCK, ERRNO_OF(remove_module()));
	file = reopen(path, O_RDONLY);
	EXPECT_LE(0, file);
	close(file);
	close(path);
	EXPECT_TRUE(references_are(before));
}

/* Streams of the device are of no mount by users, and are not bounded by any. */
TEST_F(mount, opening_the_device_mounts_nothing)
{
	int before = references(), fd = open_device(O_RDWR);

	ASSERT_LE(0, fd);
	if (before >= 0)
		EXPECT_EQ(before + 1, references());
	close(fd);
}

TEST_HARNESS_MAIN
