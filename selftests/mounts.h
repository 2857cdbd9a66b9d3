/* SPDX-License-Identifier: GPL-2.0 */
/* A mounted file system of streams, in a mount namespace of the test's own. */
#ifndef QEMUFILE_SELFTESTS_MOUNTS_H
#define QEMUFILE_SELFTESTS_MOUNTS_H

#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/vfs.h>

#define MOUNT_POINT "/tmp/qemufile-names"

/* Makes what is mounted from now on this process's own, and the mount point. */
static inline int prepare_mounts(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	if (mkdir(MOUNT_POINT, 0755) && errno != EEXIST)
		return -1;
	/* What the tests before have left. */
	return mount("none", MOUNT_POINT, "tmpfs", 0, NULL);
}

static inline int mount_names(const char *options)
{
	return mount("none", MOUNT_POINT, "qemufile", 0, options);
}

/* A name in the mount; a ring of few, so that a call can have several. */
static inline const char *at(const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", MOUNT_POINT, name);
	return path;
}

static inline int create(const char *name, int flags)
{
	return open(at(name), flags | O_CREAT | O_CLOEXEC, 0644);
}

/* A new file with some bytes, open for reading and writing. */
static inline int some(const char *name, size_t len)
{
	int fd = create(name, O_RDWR);

	return fd >= 0 && put_at(fd, 0, len, 1) == (long long)len ? fd : -1;
}

/* How many blocks, or inodes, of the mount are in use. */
static inline long long used_blocks(void)
{
	struct statfs figures;

	return statfs(MOUNT_POINT, &figures) ? -1 :
		(long long)(figures.f_blocks - figures.f_bfree);
}

static inline long long used_inodes(void)
{
	struct statfs figures;

	return statfs(MOUNT_POINT, &figures) ? -1 :
		(long long)(figures.f_files - figures.f_ffree);
}

/* The options of the mount in /proc/mounts, after "rw,relatime". */
static inline const char *shown_options(void)
{
	static char options[256];
	char line[512], point[256], type[64];
	FILE *mounts = fopen("/proc/self/mounts", "re");

	options[0] = '\0';
	while (mounts && fgets(line, sizeof(line), mounts))
		if (sscanf(line, "%*s %255s %63s %255s", point, type, options) == 3 &&
		    strcmp(point, MOUNT_POINT) == 0 && strcmp(type, "qemufile") == 0)
			break;
		else
			options[0] = '\0';
	if (mounts)
		fclose(mounts);
	return options;
}

/* A mount with these options, before each test. */
#define MOUNT_FIXTURE(name, options)						\
	FIXTURE(name) {								\
		int unused;							\
	};									\
	FIXTURE_SETUP(name)							\
	{									\
		ASSERT_EQ(0, prepare_mounts());					\
		ASSERT_EQ(0, mount_names(options)) TH_LOG("mount: %m");		\
		(void)self;							\
	}									\
	FIXTURE_TEARDOWN(name)							\
	{									\
		umount2(MOUNT_POINT, MNT_DETACH);				\
	}

#endif /* QEMUFILE_SELFTESTS_MOUNTS_H */
