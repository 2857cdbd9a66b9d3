// SPDX-License-Identifier: GPL-2.0
/* Streams by their names: files, directories and links of a mount, and the mount itself. */
#include <sys/mount.h>

#include "storm.h"

#define NAMES_DIR "/tmp/qemufile-storm"

/* So many names, of files, links and directories alike. */
#define NAMES 12

/* What is on the mount, is bounded by this. */
#define OPTIONS "size=16m,nr_inodes=64,mode=1777"

static int mount_names(void)
{
	return mount("storm", NAMES_DIR, "qemufile", 0, one_in(4) ? OPTIONS ",follow" : OPTIONS);
}

/* For all processes: mounts of their own, and the first one. */
int set_up_names(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	if (mkdir(NAMES_DIR, 0755) && errno != EEXIST)
		return -1;
	return mount_names();
}

void clean_up_names(void)
{
	while (umount2(NAMES_DIR, MNT_DETACH) == 0)
		;
	rmdir(NAMES_DIR);
}

/* A name; half of them are in what may be a directory. A ring of two. */
static const char *name(void)
{
	static char names[2][64];
	static int next;
	char *path = names[next++ % 2];

	if (one_in(2))
		snprintf(path, sizeof(names[0]), NAMES_DIR "/%u", below(NAMES));
	else
		snprintf(path, sizeof(names[0]), NAMES_DIR "/%u/%u", below(NAMES), below(NAMES));
	return path;
}

int open_name(void)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR };
	int fd = open(name(), O_CLOEXEC | O_NONBLOCK | modes[below(4)] | (one_in(2) ? O_CREAT : 0) |
		      (one_in(8) ? O_EXCL : 0) | (one_in(4) ? O_TRUNC : 0) |
		      (one_in(8) ? O_APPEND : 0) | (one_in(16) ? O_PATH : 0), 0600);

	return limited(fd);
}

int open_nameless(void)
{
	return limited(open(NAMES_DIR, O_TMPFILE | O_RDWR | O_CLOEXEC | O_NONBLOCK |
			    (one_in(4) ? O_EXCL : 0), 0600));
}

/* A file of a handle, or one with a name, gets another name. */
int link_some(void)
{
	if (one_in(2))
		return linkat(handle(), "", AT_FDCWD, name(), AT_EMPTY_PATH);
	return link(name(), name());
}

int rename_some(void)
{
	static const unsigned int flags[] = {
		0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT,
	};
	const char *from = name();

	return renameat2(AT_FDCWD, from, AT_FDCWD, name(), flags[below(ARRAY_LEN(flags))]);
}

int make_some(void)
{
	switch (below(4)) {
	case 0:
		return symlink(name(), name());
	case 1:
		return mknod(name(), S_IFREG | 0600, 0);
	default:
		return mkdir(name(), 0700);
	}
}

int remove_some(void)
{
	return one_in(2) ? unlink(name()) : one_in(2) ? rmdir(name()) : remove(name());
}

int change_some(void)
{
	struct stat st;

	switch (below(5)) {
	case 0:
		return truncate(name(), place());
	case 1:
		return chmod(name(), 0600 | below(01000));
	case 2:
		return chown(name(), below(3), below(3));
	case 3:
		return utimensat(AT_FDCWD, name(), NULL, AT_SYMLINK_NOFOLLOW);
	default:
		return lstat(name(), &st);
	}
}

/* The mount goes while its files are open, or has other bounds from then on. */
int mount_some(void)
{
	static const char *const bounds[] = { "size=1m", "size=16m", "nr_inodes=8", "nr_inodes=64" };

	if (!one_in(8))
		return mount(NULL, NAMES_DIR, NULL, MS_REMOUNT, bounds[below(ARRAY_LEN(bounds))]);
	umount2(NAMES_DIR, one_in(2) ? MNT_DETACH : 0);
	return mount_names();
}
