// SPDX-License-Identifier: GPL-2.0
/*
 * The module parameter max_user_bytes: the most bytes that all streams of a user
 * without CAP_SYS_RESOURCE may hold. Each test loads the module with it, and acts
 * for such users with its effective user ID.
 */
#include <linux/fs.h>

#include "harness.h"
#include "ram.h"

/* Where vm.sh puts it. */
#define MODULE_FILE "/vm/qemufile.ko"

#define MOST (4 * MiB)
#define USER 65534
#define OTHER_USER 65533

/* Loads the module anew. A file may be released a moment late. */
static bool reload(const char *parameters, mode_t mode)
{
	int file = open(MODULE_FILE, O_RDONLY | O_CLOEXEC);
	bool loaded;

	for (int i = 0; i < 2000 && references() > 0; i++)
		sleep_ms(1);
	syscall(SYS_delete_module, "qemufile", O_NONBLOCK);
	loaded = syscall(SYS_finit_module, file, parameters, 0) == 0;
	close(file);
	return loaded && chmod(DEVICE, mode) == 0;
}

/* Acts for a user from now on; that is without any capability, but for root. */
static int become(uid_t user)
{
	return setresuid(-1, user, -1);
}

FIXTURE(quota) {
};

FIXTURE_SETUP(quota)
{
	char parameters[64];

	if (access(MODULE_FILE, R_OK))
		SKIP(return, "no " MODULE_FILE " to load again");
	if (references() != 0)
		SKIP(return, "somebody uses the module");
	snprintf(parameters, sizeof(parameters), "max_user_bytes=%lld", MOST);
	ASSERT_TRUE(reload(parameters, 0666)) TH_LOG("%m");
	ASSERT_EQ(0, become(USER));
}

/* Whatever has happened, the other tests need the module as it was. */
FIXTURE_TEARDOWN_PARENT(quota)
{
	if (access(MODULE_FILE, R_OK) == 0) {
		EXPECT_TRUE(reload("", 0600)) TH_LOG("%m");
	}
}

static long long allocated(int fd)
{
	struct qemufile_info info;

	return ioctl(fd, QEMUFILE_IOC_GET_INFO, &info) ? -1 : (long long)info.allocated;
}

TEST_F(quota, all_streams_of_a_user_share_it)
{
	int a = open_device(O_RDWR), b = open_file(O_RDWR);

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(3 * MiB, put_at(a, 0, 3 * MiB, 1));
	/* What fits is written, and the rest is latched. */
	EXPECT_EQ(MiB, put_at(b, 0, 2 * MiB, 1));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(ENOSPC, ERRNO_OF(fsync(b)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(a, "x", 1, 3 * MiB)));
	EXPECT_EQ(MiB, allocated(b));
	/* What is there can be written over, and a page be filled. */
	EXPECT_EQ(3 * MiB, put_at(a, 0, 3 * MiB, 2));
	EXPECT_EQ(3 * MiB, right_at(a, 0, 3 * MiB, 2));
	EXPECT_EQ(MiB, right_at(b, 0, MiB, 1));
	/* Holes take none. */
	EXPECT_EQ(0, set_length(a, TiB));
	close(a);
	close(b);
}

/* Writes 64 KiB at a time to its half of the stream, until there is no more. */
struct half {
	int fd;
	off_t start;
	long long bytes;
	int error;
};

static void *write_half(void *arg)
{
	static const char bytes[64 * KiB];
	struct half *half = arg;
	ssize_t put;

	while ((put = pwrite(half->fd, bytes, sizeof(bytes), half->start + half->bytes)) > 0)
		half->bytes += put;
	half->error = errno;
	return NULL;
}

TEST_F(quota, writers_at_once_share_it_to_the_last_page)
{
	for (int round = 0; round < 5; round++) {
		int fd = open_device(O_RDWR), other = open_device(O_RDWR);
		struct half halves[2] = {
			{ .fd = fd, .start = 0 },
			{ .fd = fd, .start = 64 * MiB },
		};
		pthread_t threads[2];

		ASSERT_LE(0, fd);
		ASSERT_LE(0, other);
		ASSERT_EQ(9 * PAGE, put_at(other, 0, 9 * PAGE, 1));
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, write_half, &halves[i]));
		}
		for (int i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			EXPECT_EQ(ENOSPC, halves[i].error);
		}
		EXPECT_EQ(halves[0].bytes + halves[1].bytes, allocated(fd));
		EXPECT_GE(MOST - 9 * PAGE, allocated(fd));
		/* Nothing is paid for that is not used. */
		EXPECT_EQ(MOST - 9 * PAGE - allocated(fd),
			  put_at(other, 9 * PAGE, MOST - 9 * PAGE - allocated(fd), 1));
		EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(other, "x", 1, MOST)));
		close(fd);
		close(other);
	}
}

/* A write of one byte in a thread of its own. */
struct byte_write {
	int fd;
	const char *byte;
	off_t pos;
	ssize_t result;
	int error;
	pthread_t thread;
};

static void *write_byte(void *arg)
{
	struct byte_write *call = arg;

	call->result = pwrite(call->fd, call->byte, 1, call->pos);
	call->error = errno;
	return NULL;
}

/* The last page of the quota is paid for by a write that is slow. Another write needs no other. */
TEST_F(quota, writes_at_once_of_a_page_need_it_once)
{
	int fd = open_device(O_RDWR), other = open_device(O_RDWR), uffd;
	struct byte_write slow = { .fd = fd, .pos = 0 };
	struct byte_write second = { .fd = fd, .pos = 1, .byte = "x" };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct pollfd poll_fd = { .events = POLLIN };
	char *memory;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, other);
	ASSERT_EQ(MOST - PAGE, put_at(other, 0, MOST - PAGE, 1));
	ASSERT_EQ(0, become(0));
	uffd = slow_memory(&memory, PAGE);
	ASSERT_EQ(0, become(USER));
	if (uffd < 0)
		SKIP(return, "no userfaultfd");
	slow.byte = memory;
	poll_fd.fd = uffd;
	ASSERT_EQ(0, pthread_create(&slow.thread, NULL, write_byte, &slow));
	ASSERT_EQ(1, poll(&poll_fd, 1, 5000));
	EXPECT_EQ(EAGAIN, ERRNO_OF(pwritev2(fd, &iov, 1, 1, RWF_NOWAIT)));
	ASSERT_EQ(0, pthread_create(&second.thread, NULL, write_byte, &second));
	sleep_ms(50);
	EXPECT_TRUE(bring(uffd, memory, 0));
	pthread_join(slow.thread, NULL);
	pthread_join(second.thread, NULL);
	EXPECT_EQ(1, slow.result);
	EXPECT_EQ(1, second.result) TH_LOG("%s", strerror(second.error));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(PAGE, allocated(fd));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(fd, "x", 1, PAGE)));
	close(uffd);
}

TEST_F(quota, stores_through_a_mapping_count)
{
	int fd = open_device(O_RDWR), other = open_file(O_RDWR);
	char *memory;

	ASSERT_LE(0, fd);
	ASSERT_EQ(MOST - 2 * PAGE, put_at(other, 0, MOST - 2 * PAGE, 1));
	ASSERT_EQ(0, set_length(fd, MOST));
	memory = map_ram(fd, MOST);
	ASSERT_NE(NULL, memory);
	/* What is looked at does not count, until it is written. */
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, touch(memory + i * PAGE, false));
	EXPECT_EQ(0, touch(memory, true));
	EXPECT_EQ(0, touch(memory + PAGE, true));
	EXPECT_EQ(SIGBUS, touch(memory + 2 * PAGE, true));
	EXPECT_EQ(2 * PAGE, allocated(fd));
	ASSERT_EQ(0, set_length(other, 0));
	EXPECT_EQ(0, touch(memory + 2 * PAGE, true));
	munmap(memory, MOST);
	close(fd);
	close(other);
}

TEST_F(quota, what_is_freed_can_be_had_again)
{
	int a = open_device(O_RDWR), b = open_device(O_RDWR);

	ASSERT_LE(0, b);
	for (int way = 0; way < 4; way++) {
		ASSERT_EQ(MOST, put_at(a, 0, MOST, 1)) TH_LOG("way %d", way);
		ASSERT_EQ(ENOSPC, ERRNO_OF(pwrite(b, "x", 1, 0)));
		switch (way) {
		case 0:
			ASSERT_EQ(0, punch(a, PAGE, CHUNK));
			break;
		case 1:
			ASSERT_EQ(0, set_length(a, MOST - CHUNK));
			break;
		case 2:
			ASSERT_EQ(0, close(a));
			a = open_device(O_RDWR);
			ASSERT_LE(0, a);
			break;
		case 3:
			/* A write that fails gives back what it was to get. */
			ASSERT_EQ(0, set_length(a, 0));
			ASSERT_EQ(EFAULT, ERRNO_OF(pwrite(a, nowhere(), MOST, 0)));
			break;
		}
		ASSERT_EQ(CHUNK, put_at(b, 0, CHUNK, 1)) TH_LOG("way %d", way);
		ASSERT_EQ(0, set_length(a, 0));
		ASSERT_EQ(0, set_length(b, 0));
	}
	close(a);
	close(b);
}

TEST_F(quota, nothing_gets_past_it)
{
	struct iovec iov = { .iov_base = fresh_memory(MiB), .iov_len = MiB };
	int full = open_file(O_RDWR), fd = open_file(O_RDWR), pipe_fds[2];
	struct qemufile_record record = {
		.type = QEMUFILE_BUFFER, .value = (uintptr_t)iov.iov_base, .length = MiB,
	};
	struct qemufile_vector vector = { .records = (uintptr_t)&record, .count = 1 };
	struct file_clone_range range = { .src_fd = full, .src_length = MiB };

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pipe(pipe_fds));
	ASSERT_EQ(MOST - CHUNK, put_at(full, 0, MOST - CHUNK, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwritev2(fd, &iov, 1, 0, RWF_ATOMIC)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fallocate(fd, 0, 0, MiB)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MiB)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(ioctl(fd, FICLONERANGE, &range)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(ioctl(fd, FICLONE, full)));
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(full, O_RDONLY)));
	EXPECT_EQ(0, length_of(fd));
	EXPECT_EQ(0, allocated(fd));
	/* In parts, what there is room for. */
	EXPECT_EQ(0, fallocate(fd, 0, 0, CHUNK - PAGE));
	ASSERT_EQ(2 * PAGE, write(pipe_fds[1], iov.iov_base, 2 * PAGE));
	EXPECT_EQ(PAGE, splice(pipe_fds[0], NULL, fd, &(loff_t){ CHUNK - PAGE }, 2 * PAGE, 0));
	EXPECT_EQ(ENOSPC, ERRNO_OF(splice(pipe_fds[0], NULL, fd, &(loff_t){ CHUNK }, PAGE, 0)));
	EXPECT_EQ(CHUNK, lseek(fd, CHUNK, SEEK_SET));
	EXPECT_NE(0, ioctl(fd, QEMUFILE_IOC_PUT, &vector));
	EXPECT_EQ(CHUNK, allocated(fd));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(full);
	close(fd);
}

/* What counts is memory, and not length. */
TEST_F(quota, sparse_streams_count_little)
{
	int source = open_file(O_RDWR), target = open_file(O_RDWR), clone;

	ASSERT_LE(0, target);
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(1, put_at(source, i * TiB, 1, 1));
	}
	ASSERT_EQ(0, set_length(source, 8 * TiB));
	EXPECT_EQ(0, ioctl(target, FICLONE, source)) TH_LOG("%m");
	clone = open_clone(source, O_RDWR);
	EXPECT_LE(0, clone);
	/* Each counts for itself. */
	EXPECT_EQ(MOST - 24 * PAGE, put_at(clone, MiB, MOST, 1));
	EXPECT_EQ(ENOSPC, errno);
	close(clone);
	EXPECT_EQ(MOST - 16 * PAGE, put_at(target, MiB, MOST, 1));
	close(target);
	close(source);
}

TEST_F(quota, a_stream_counts_for_who_made_it)
{
	int roots, clone, own = open_device(O_RDWR);

	ASSERT_LE(0, own);
	ASSERT_EQ(0, become(0));
	roots = open_file(O_RDWR);
	ASSERT_LE(0, roots);
	/* Root has CAP_SYS_RESOURCE. */
	ASSERT_EQ(MOST + MiB, put_at(roots, 0, MOST + MiB, 1));
	ASSERT_EQ(0, become(USER));
	/* Handed on, it is still root's; a clone is the user's. */
	EXPECT_EQ(2 * MiB, put_at(roots, MOST + MiB, 2 * MiB, 1));
	EXPECT_EQ(ENOSPC, ERRNO_OF(open_clone(roots, O_RDONLY)));
	ASSERT_EQ(0, set_length(roots, MOST - MiB));
	clone = open_clone(roots, O_RDONLY);
	EXPECT_LE(0, clone) TH_LOG("%m");
	EXPECT_EQ(MiB, put_at(own, 0, MOST, 1));
	/* As it stays the user's, whoever writes. */
	ASSERT_EQ(0, become(0));
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(own, "x", 1, MiB)));
	close(clone);
	close(own);
	close(roots);
}

TEST_F(quota, each_user_has_one)
{
	int a = open_device(O_RDWR), b;

	ASSERT_LE(0, a);
	ASSERT_EQ(MOST, put_at(a, 0, MOST, 1));
	ASSERT_EQ(0, become(0));
	ASSERT_EQ(0, become(OTHER_USER));
	b = open_device(O_RDWR);
	ASSERT_LE(0, b);
	EXPECT_EQ(MOST, put_at(b, 0, 2 * MOST, 1));
	EXPECT_EQ(ENOSPC, errno);
	close(a);
	EXPECT_EQ(ENOSPC, ERRNO_OF(pwrite(b, "x", 1, MOST)));
	close(b);
}

TEST_F(quota, what_is_drained_is_given_back)
{
	struct qemufile_flags flags = { .set = QEMUFILE_STREAM_DRAIN };
	int fd = open_device(O_RDWR), reader = open_handle(fd, O_RDONLY);
	static char bytes[CHUNK];

	ASSERT_LE(0, reader);
	ASSERT_EQ(0, ioctl(fd, QEMUFILE_IOC_SET_FLAGS, &flags));
	for (long long pos = 0; pos < 2 * MOST; pos += CHUNK) {
		ASSERT_EQ(CHUNK, put_at(fd, pos, CHUNK, 1)) TH_LOG("at %lld", pos);
		ASSERT_EQ(CHUNK, read(reader, bytes, CHUNK));
		ASSERT_EQ(CHUNK, right(bytes, CHUNK, pos, 1));
	}
	close(reader);
	close(fd);
}

/* ---- many at once ---- */

struct hoarder {
	pthread_t thread;
	pthread_barrier_t *barrier;
	int fd;
	int who;
};

static void *write_until_full(void *arg)
{
	struct hoarder *hoarder = arg;
	/* Of different lengths, so that the last pages are contended for. */
	long long len = (hoarder->who + 1) * PAGE + 100 * hoarder->who;
	char *memory = fresh_memory(len);

	pin_to(hoarder->who);
	pthread_barrier_wait(hoarder->barrier);
	for (long long pos = 0; pwrite(hoarder->fd, memory, len, pos) > 0; pos += len)
		;
	munmap(memory, len);
	return NULL;
}

/* Exactly the limit is had in the end, whoever gets it; and all of it comes back. */
TEST_F(quota, is_never_passed_by_threads_that_race)
{
	enum { COUNT = 4 };
	long long end = now_ms() + RACE_MS;
	pthread_barrier_t barrier;

	do {
		struct hoarder hoarders[COUNT];
		long long sum = 0;

		pthread_barrier_init(&barrier, NULL, COUNT);
		for (int i = 0; i < COUNT; i++) {
			hoarders[i] = (struct hoarder){
				.barrier = &barrier, .fd = open_device(O_RDWR), .who = i,
			};
			ASSERT_LE(0, hoarders[i].fd);
			ASSERT_EQ(0, pthread_create(&hoarders[i].thread, NULL, write_until_full,
						    &hoarders[i]));
		}
		for (int i = 0; i < COUNT; i++)
			pthread_join(hoarders[i].thread, NULL);
		for (int i = 0; i < COUNT; i++) {
			/* Whoever was refused pages that another gave back after. */
			put_at(hoarders[i].fd, TiB, MOST, 1);
			sum += allocated(hoarders[i].fd);
		}
		EXPECT_EQ(MOST, sum);
		for (int i = 0; i < COUNT; i++)
			close(hoarders[i].fd);
	} while (now_ms() < end);
}

TEST_HARNESS_MAIN
