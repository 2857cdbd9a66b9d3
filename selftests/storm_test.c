// SPDX-License-Identifier: GPL-2.0
/*
 * Sixteen processes with up to 64 handles each, on streams that they share, make
 * calls of all kinds with arguments drawn by chance, right and wrong ones. None
 * may hang, and none may harm the kernel: it is the kernel's log that tells.
 */
#include <linux/fs.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "harness.h"

FIXTURE(storm) {
};

FIXTURE_SETUP(storm)
{
}

FIXTURE_TEARDOWN(storm)
{
}

enum { PROCESSES = 16, HANDLES = 64, AREA = 4 << 20 };

struct weather {
	unsigned int seed;
	int fds[HANDLES];
	int pipe_fds[2];
	char *memory;		/* AREA bytes */
	char *wrong;		/* an address where there is nothing */
};

static unsigned int dice(struct weather *weather, unsigned int sides)
{
	return draw(&weather->seed, sides);
}

/* A number: mostly small, sometimes at a border, sometimes anything. */
static uint64_t number(struct weather *weather)
{
	const uint64_t borders[] = {
		0, 1, PAGE, CHUNK, NODE, SLICE, TiB, OFFSET_MAX, 1ULL << 63, ~0ULL, 1ULL << 32,
	};

	switch (dice(weather, 4)) {
	case 0:
		return borders[dice(weather, ARRAY_LEN(borders))] + dice(weather, 3) - 1;
	case 1:
		return dice(weather, 8) ? dice(weather, PAGE) : word_at(weather->seed, 1);
	default:
		return dice(weather, AREA);
	}
}

static uint32_t bits(struct weather *weather)
{
	return dice(weather, 6) ? 0 : dice(weather, 2) ? 1U << dice(weather, 32) : weather->seed;
}

static void *address(struct weather *weather)
{
	return dice(weather, 8) ? weather->memory + dice(weather, AREA / 2) : weather->wrong;
}

static int any(struct weather *weather)
{
	return weather->fds[dice(weather, HANDLES)];
}

/* Puts a new descriptor in the place of an old one. */
static void replace(struct weather *weather, int fd)
{
	int *place = &weather->fds[dice(weather, HANDLES)];

	if (fd < 0)
		return;
	if (*place >= 0)
		close(*place);
	/* A reader or a writer that waits would do so for good. */
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	*place = fd;
}

static void call_typed(struct weather *weather, unsigned long command)
{
	struct qemufile_record records[20];
	struct qemufile_vector vector = {
		.records = (uintptr_t)(dice(weather, 10) ? (void *)records : address(weather)),
		.count = dice(weather, 30) ? dice(weather, 20) : weather->seed,
		.offset = command == QEMUFILE_IOC_PEEK || !dice(weather, 10) ? number(weather) : 0,
		.flags = bits(weather) & bits(weather),
	};

	for (int i = 0; i < 20; i++) {
		struct qemufile_record *record = &records[i];

		memset(record, 0, sizeof(*record));
		record->type = dice(weather, 30) ? dice(weather, 5) : weather->seed;
		if (record->type == QEMUFILE_BUFFER) {
			record->value = (uintptr_t)address(weather);
			record->length = dice(weather, 20) ? dice(weather, 20000) : number(weather);
		} else {
			record->value = dice(weather, 10) ? dice(weather, 256) : number(weather);
		}
	}
	ioctl(any(weather), command, &vector);
}

static void call_ours(struct weather *weather)
{
	union {
		struct qemufile_info info;
		struct qemufile_length length;
		struct qemufile_extent extent;
		struct qemufile_range range;
		struct qemufile_skip skip;
		struct qemufile_error error;
		struct qemufile_rate rate;
		struct qemufile_limit limit;
		struct qemufile_flags flags;
		struct qemufile_ram_control ram_control;
		struct qemufile_save_page save_page;
		uint64_t words[16];
	} arg = {};
	void *place = dice(weather, 20) ? &arg : address(weather);
	int fd = any(weather);

	switch (dice(weather, 14)) {
	case 0:
		ioctl(fd, QEMUFILE_IOC_GET_INFO, place);
		break;
	case 1:
		arg.length.length = number(weather);
		arg.length.flags = bits(weather);
		ioctl(fd, QEMUFILE_IOC_SET_LENGTH, place);
		break;
	case 2:
		arg.extent.start = number(weather);
		ioctl(fd, QEMUFILE_IOC_GET_EXTENT, place);
		break;
	case 3:
		arg.range.start = number(weather);
		arg.range.length = number(weather);
		ioctl(fd, QEMUFILE_IOC_PUNCH, place);
		break;
	case 4:
		arg.error.error = dice(weather, 2) ? 0 : -(int)dice(weather, 5000);
		ioctl(fd, QEMUFILE_IOC_SET_ERROR, place);
		break;
	case 5:
		ioctl(fd, QEMUFILE_IOC_GET_ERROR, place);
		break;
	case 6:
		/* Kept rates high enough, or nothing would ever be written. */
		arg.rate.op = dice(weather, 4);
		arg.rate.limit = dice(weather, 2) ? 0 : 100 * MiB + number(weather);
		arg.rate.flags = bits(weather);
		ioctl(fd, QEMUFILE_IOC_RATE_LIMIT, place);
		break;
	case 7:
		arg.limit.limit = dice(weather, 2) ? 0 : number(weather);
		ioctl(fd, QEMUFILE_IOC_SET_LIMIT, place);
		break;
	case 8:
		/* Sealing is for good, and so seldom. */
		arg.flags.set = dice(weather, 50) ? QEMUFILE_STREAM_DRAIN * dice(weather, 2) :
						    dice(weather, 8);
		arg.flags.flags = bits(weather);
		ioctl(fd, QEMUFILE_IOC_SET_FLAGS, place);
		break;
	case 9:
		arg.ram_control.op = dice(weather, 4);
		arg.ram_control.hook_flags = weather->seed;
		ioctl(fd, QEMUFILE_IOC_RAM_CONTROL, place);
		break;
	case 10:
		arg.save_page.size = number(weather);
		ioctl(fd, QEMUFILE_IOC_SAVE_PAGE, place);
		break;
	case 11:
		arg.skip.length = number(weather);
		ioctl(fd, QEMUFILE_IOC_SKIP, place);
		break;
	case 12:
		/* Any number, any argument. */
		for (int i = 0; i < 16; i++)
			arg.words[i] = number(weather);
		ioctl(fd, _IOC(dice(weather, 4), QEMUFILE_IOC_MAGIC, dice(weather, 48),
			       8 * dice(weather, 12)), place);
		break;
	case 13:
		call_typed(weather, dice(weather, 3) == 0 ? QEMUFILE_IOC_PUT :
				    dice(weather, 2) == 0 ? QEMUFILE_IOC_GET : QEMUFILE_IOC_PEEK);
		break;
	}
}

static void open_another(struct weather *weather)
{
	const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR | O_APPEND };
	int mode = modes[dice(weather, ARRAY_LEN(modes))], fd = any(weather);
	struct qemufile_open open = { .mode = dice(weather, 5), .flags = bits(weather) };

	switch (dice(weather, 6)) {
	case 0:
		replace(weather, open_device(mode | O_NONBLOCK));
		break;
	case 1:
		replace(weather, open_handle(fd, mode | O_NONBLOCK));
		break;
	case 2:
		replace(weather, open_clone(fd, mode | O_NONBLOCK));
		break;
	case 3:
		replace(weather, reopen(fd, mode | O_NONBLOCK | (dice(weather, 8) ? 0 : O_TRUNC)));
		break;
	case 4:
		replace(weather, dup(fd));
		break;
	case 5:
		replace(weather, ioctl(fd, QEMUFILE_IOC_BUFOPEN,
				       dice(weather, 5) ? (void *)&open : address(weather)));
		break;
	}
}

static void call_plain(struct weather *weather)
{
	const int flags[] = { 0, 0, RWF_ATOMIC, RWF_APPEND, RWF_NOWAIT, RWF_NOAPPEND, RWF_SYNC };
	int fd = any(weather), flag = flags[dice(weather, ARRAY_LEN(flags))];
	struct pollfd poll_fd = { .fd = fd, .events = POLL_ALL };
	off_t pos = dice(weather, 20) ? dice(weather, AREA) : number(weather);
	size_t len = dice(weather, 10) ? dice(weather, 20000) : dice(weather, AREA / 2);
	struct iovec iov[3] = {
		{ .iov_base = address(weather), .iov_len = len / 3 },
		{ .iov_base = address(weather), .iov_len = len / 3 },
		{ .iov_base = address(weather), .iov_len = len - 2 * (len / 3) },
	};
	struct file_clone_range range = {
		.src_fd = any(weather), .src_offset = pos / PAGE * PAGE,
		.src_length = len / PAGE * PAGE, .dest_offset = dice(weather, 1000) * PAGE,
	};
	char *memory;

	switch (dice(weather, 18)) {
	case 0:
		write(fd, address(weather), len);
		break;
	case 1:
		read(fd, address(weather), len);
		break;
	case 2:
	case 3:
		pwritev2(fd, iov, 3, dice(weather, 4) ? pos : -1, flag);
		break;
	case 4:
	case 5:
		preadv2(fd, iov, 3, dice(weather, 4) ? pos : -1, flag);
		break;
	case 6:
		lseek(fd, pos, dice(weather, 6));
		break;
	case 7:
		fsync(fd);
		break;
	case 8:
		poll(&poll_fd, 1, 0);
		break;
	case 9:
		splice(fd, dice(weather, 2) ? &pos : NULL, weather->pipe_fds[1], NULL, len,
		       SPLICE_F_NONBLOCK);
		break;
	case 10:
		splice(weather->pipe_fds[0], NULL, fd, dice(weather, 2) ? &pos : NULL, len,
		       SPLICE_F_NONBLOCK | (dice(weather, 2) ? SPLICE_F_MOVE : 0));
		break;
	case 11:
		memory = mmap(NULL, len + 1, PROT_READ | (dice(weather, 2) ? PROT_WRITE : 0),
			      dice(weather, 2) ? MAP_SHARED : MAP_PRIVATE, fd, pos / PAGE * PAGE);
		if (memory == MAP_FAILED)
			break;
		/* As the source of a write: no signal past the end, but EFAULT. */
		pwrite(any(weather), memory, len, dice(weather, AREA));
		munmap(memory, len + 1);
		break;
	case 12:
		ftruncate(fd, dice(weather, 4) ? dice(weather, AREA) : number(weather));
		break;
	case 13:
		fallocate(fd, dice(weather, 2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE :
			  dice(weather, 2) ? FALLOC_FL_ZERO_RANGE : 0, dice(weather, AREA), len);
		break;
	case 14:
		copy_file_range(fd, NULL, any(weather), NULL, len, 0);
		break;
	case 15:
		ioctl(fd, FICLONERANGE, &range);
		break;
	case 16:
		sendfile(any(weather), fd, dice(weather, 2) ? &pos : NULL, len);
		break;
	case 17:
		fcntl(fd, F_SETFL, O_NONBLOCK | (dice(weather, 2) ? O_APPEND : 0) |
		      (dice(weather, 4) ? 0 : O_ASYNC));
		break;
	}
}

static void rage(const int *shared, unsigned int seed, long long end)
{
	struct weather weather = { .seed = seed, .memory = fresh_memory(AREA), .wrong = nowhere() };
	struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1024 };

	pin_to(seed);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	setrlimit(RLIMIT_NOFILE, &files);
	fill(weather.memory, AREA, 0, 1);
	if (pipe2(weather.pipe_fds, O_NONBLOCK | O_CLOEXEC))
		_exit(1);
	for (int i = 0; i < HANDLES; i++)
		weather.fds[i] = dup(shared[i % PROCESSES]);
	for (int i = 0; now_ms() < end; i++) {
		switch (dice(&weather, 8)) {
		case 0:
			open_another(&weather);
			break;
		case 1:
		case 2:
		case 3:
			call_ours(&weather);
			break;
		default:
			call_plain(&weather);
			break;
		}
		/* Streams that were made very long or were sealed are left behind. */
		if (i % 500 == 499) {
			struct qemufile_length length = { .length = dice(&weather, AREA) };

			for (int j = 0; j < HANDLES; j += 3)
				if (ioctl(weather.fds[j], QEMUFILE_IOC_SET_LENGTH, &length))
					replace(&weather, open_device(O_RDWR | O_NONBLOCK));
		}
	}
	_exit(0);
}

TEST_F(storm, of_calls_drawn_by_chance)
{
	long long end = now_ms() + 3 * RACE_MS;
	pid_t children[PROCESSES];
	int shared[PROCESSES];

	for (int i = 0; i < PROCESSES; i++) {
		shared[i] = i % 2 ? open_file(O_RDWR | O_NONBLOCK) : open_device(O_RDWR | O_NONBLOCK);
		ASSERT_LE(0, shared[i]);
	}
	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork_child();
		ASSERT_LE(0, children[i]);
		if (children[i] == 0)
			rage(shared, now_ms() * 31 + i, end);
	}
	/* Some do not get to the end. */
	sleep_ms(RACE_MS);
	for (int i = 0; i < PROCESSES; i += 5)
		kill(children[i], SIGKILL);
	for (int i = 0; i < PROCESSES; i++) {
		EXPECT_EQ(i % 5 ? 0 : 128 + SIGKILL, status_of(children[i]));
		close(shared[i]);
	}
}

TEST_HARNESS_MAIN
