// SPDX-License-Identifier: GPL-2.0
/*
 * A stream against a model: calls of all kinds, one after the other, drawn by chance. What each call
 * returns, the length and the bytes are those of the model, and so are the bytes that clones, pipes and
 * mappings got before.
 */
#include <linux/falloc.h>
#include <sys/uio.h>

#include "harness.h"

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x00000040
#endif

#define MOST (4 * MiB)
#define STEPS 3000
#define HOLDS 6

/* What a stream gave to somebody, who must find it as it was. */
struct hold {
	enum { NONE, CLONE, PIPE } kind;
	int fds[2];
	long long pos, len;
	unsigned char *bytes;
};

struct model {
	/* A handle to write, one that only reads, and a regular file. */
	int fd, reader, file;
	bool drains;
	unsigned char *bytes, *shared;
	long long len, drained, position;
	/* Memory that ends at a page that faults. */
	unsigned char *source;
	struct hold holds[HOLDS];
	unsigned int seed;
	/* What went wrong, if anything did. */
	const char *wrong;
};

#define SOURCE (128 * KiB)

static long long some(struct model *model, long long end)
{
	return end <= 0 ? 0 : ((long long)draw(&model->seed, 1 << 20) << 12 ^ draw(&model->seed, 1 << 20)) % end;
}

static void expect(struct model *model, bool right, const char *what)
{
	if (!right && !model->wrong)
		model->wrong = what;
}

/* A place that may be written: near the end more often than not. */
static long long place(struct model *model)
{
	switch (draw(&model->seed, 8)) {
	case 0:
		return model->drained + some(model, MOST - SOURCE - model->drained);
	case 1:
		return model->drained + some(model, model->len - model->drained);
	case 2:
		return model->drained + some(model, model->len - model->drained) / PAGE * PAGE / 2;
	default:
		return model->len;
	}
}

static long long size(struct model *model)
{
	switch (draw(&model->seed, 8)) {
	case 0:
		return 1 + some(model, SOURCE - 1);
	case 1:
		return PAGE * (1 + draw(&model->seed, 20));
	case 2:
		return PAGE;
	default:
		return 1 + draw(&model->seed, 2 * PAGE);
	}
}

/* The stream has @len new bytes at @pos, which is where the model's memory is. */
static void note_write(struct model *model, long long pos, const unsigned char *bytes, long long len)
{
	if (pos > model->len)
		memset(model->bytes + model->len, 0, pos - model->len);
	if (len > 0)
		memcpy(model->bytes + pos, bytes, len);
	model->len = pos + len > model->len ? pos + len : model->len;
}

/* Some bytes of which the last ones fault, if @faults. */
static unsigned char *source_of(struct model *model, long long len, bool faults, long long *good)
{
	*good = faults ? some(model, len) : len;
	return model->source + SOURCE - *good;
}

static void write_some(struct model *model)
{
	bool atomic = draw(&model->seed, 10) == 0;
	long long len = size(model), pos = place(model), good;
	unsigned char *bytes = source_of(model, len, draw(&model->seed, 8) == 0, &good);
	struct iovec iov = { .iov_base = bytes, .iov_len = len };
	ssize_t done;

	for (long long i = 0; i < good; i += 61)
		bytes[i] = 1 + draw(&model->seed, 255);
	done = pwritev2(model->fd, &iov, 1, pos, atomic ? RWF_ATOMIC : 0);
	if (good == len || (good > 0 && !atomic)) {
		expect(model, done == good, "a write");
		note_write(model, pos, bytes, good);
	} else {
		expect(model, done == -1 && errno == EFAULT, "a write that faults");
	}
}

static void append_some(struct model *model)
{
	long long len = size(model), good;
	unsigned char *bytes = source_of(model, len, false, &good);
	struct iovec iov = { .iov_base = bytes, .iov_len = len };

	expect(model, pwritev2(model->fd, &iov, 1, 0, RWF_APPEND) == len, "an append");
	note_write(model, model->len, bytes, len);
}

static void splice_some(struct model *model)
{
	long long len = 1 + some(model, 16 * PAGE), pos = place(model), done = 0;
	int ends[2];

	if (draw(&model->seed, 2))
		pos = (pos + PAGE - 1) / PAGE * PAGE;
	expect(model, pipe2(ends, O_CLOEXEC) == 0, "a pipe");
	expect(model, write(ends[1], model->source, len) == len, "a pipe's bytes");
	while (done < len) {
		loff_t at = pos + done;
		ssize_t more = splice(ends[0], NULL, model->fd, &at, len - done, 0);

		if (more <= 0)
			break;
		done += more;
	}
	expect(model, done == len, "a splice");
	note_write(model, pos, model->source, done);
	close(ends[0]);
	close(ends[1]);
}

static void resize(struct model *model)
{
	long long len = draw(&model->seed, 3) ? model->len + draw(&model->seed, 6 * PAGE) - 2 * PAGE : place(model);

	len = len < model->drained ? model->drained : len;
	expect(model, set_length(model->fd, len) == 0, "a new length");
	if (len > model->len)
		memset(model->bytes + model->len, 0, len - model->len);
	model->len = len;
}

static void make_hole(struct model *model)
{
	long long pos = place(model), len = size(model);

	expect(model, punch(model->fd, pos, len) == 0, "a hole");
	if (pos < model->len)
		memset(model->bytes + pos, 0, pos + len < model->len ? len : model->len - pos);
}

static void allocate(struct model *model)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	int mode = modes[draw(&model->seed, ARRAY_LEN(modes))];
	long long pos = place(model), len = size(model), end = pos + len;

	expect(model, fallocate(model->file, mode, pos, len) == 0, "fallocate");
	if (end > model->len) {
		memset(model->bytes + model->len, 0, end - model->len);
		if (!(mode & FALLOC_FL_KEEP_SIZE))
			model->len = end;
	}
	if (mode & FALLOC_FL_ZERO_RANGE)
		memset(model->bytes + pos, 0, len);
}

static unsigned char *map(struct model *model)
{
	return mmap(NULL, MOST, PROT_READ, MAP_SHARED, model->reader, 0);
}

/* The reader goes on, and what it has passed is gone. */
static void read_on(struct model *model)
{
	static unsigned char bytes[SOURCE];
	long long left = model->len - model->position, len = size(model), got;

	if (left <= 0)
		return;
	len = len < left ? len : left;
	got = read(model->reader, bytes, len);
	expect(model, got == len && !memcmp(bytes, model->bytes + model->position, len), "a read");
	model->position += len;
	if (model->drains)
		model->drained = model->position;
}

static void let_go(struct model *model, struct hold *hold)
{
	static unsigned char bytes[MOST];
	long long done = 0;

	if (hold->kind == CLONE) {
		done = pread(hold->fds[0], bytes, hold->len, hold->pos);
		close(hold->fds[0]);
	} else if (hold->kind == PIPE) {
		while (done < hold->len) {
			ssize_t more = read(hold->fds[0], bytes + done, hold->len - done);

			if (more <= 0)
				break;
			done += more;
		}
		close(hold->fds[0]);
		close(hold->fds[1]);
	}
	if (hold->kind != NONE) {
		expect(model, done == hold->len && !memcmp(bytes, hold->bytes, hold->len),
		       hold->kind == CLONE ? "a clone" : "a page in a pipe");
		free(hold->bytes);
	}
	hold->kind = NONE;
}

static void hold_some(struct model *model)
{
	struct hold *hold = &model->holds[draw(&model->seed, HOLDS)];
	loff_t pos;

	let_go(model, hold);
	hold->pos = model->drained + some(model, model->len - model->drained);
	hold->len = model->len - hold->pos;
	if (hold->len == 0)
		return;
	if (draw(&model->seed, 2)) {
		hold->kind = CLONE;
		hold->fds[0] = open_clone(model->fd, O_RDONLY);
		expect(model, hold->fds[0] >= 0, "CLONE");
	} else {
		hold->kind = PIPE;
		pos = hold->pos;
		expect(model, pipe2(hold->fds, O_CLOEXEC) == 0, "a pipe");
		hold->len = splice(model->fd, &pos, hold->fds[1], NULL, 8 * PAGE, 0);
		expect(model, hold->len > 0, "a splice to a pipe");
	}
	hold->bytes = malloc(hold->len);
	memcpy(hold->bytes, model->bytes + hold->pos, hold->len);
}

static void seek(struct model *model)
{
	long long pos = model->drained + some(model, model->len - model->drained), next;
	long long first = model->drained, last = model->len;

	/* What is said to be a hole has zeros. */
	next = lseek(model->file, pos, SEEK_DATA);
	last = next < 0 ? model->len : next;
	for (first = pos; first < last && !model->bytes[first];)
		first++;
	expect(model, first >= last, "SEEK_DATA");
	next = lseek(model->file, pos, SEEK_HOLE);
	expect(model, pos == model->len || (next >= pos && next <= model->len), "SEEK_HOLE");
}

/* All bytes, by a read and by a mapping. */
static void compare(struct model *model)
{
	static unsigned char bytes[MOST];
	long long pos = model->drained, left = model->len - pos, done = 0;
	/* Memory of a drained stream is not kept while it is mapped. */
	unsigned char *shared = model->drains ? map(model) : model->shared;

	while (done < left) {
		ssize_t more = pread(model->fd, bytes + done, left - done, pos + done);

		if (more <= 0)
			break;
		done += more;
	}
	expect(model, done == left && !memcmp(bytes, model->bytes + pos, left), "the bytes");
	expect(model, !memcmp(shared + pos, model->bytes + pos, left), "the bytes of a mapping");
	if (!model->drains)
		return;
	munmap(shared, MOST);
	expect(model, pos < PAGE || (pread(model->fd, bytes, 1, 0) == -1 && errno == ENXIO), "what is drained");
}

static void check_figures(struct model *model)
{
	struct qemufile_info info = info_of(model->fd);
	struct stat stat;

	expect(model, (long long)info.length == model->len, "the length");
	expect(model, (long long)info.drained == model->drained, "what has been drained");
	expect(model, fstat(model->file, &stat) == 0 && stat.st_size == model->len, "st_size");
}

static void step(struct model *model)
{
	static void (*const calls[])(struct model *model) = {
		write_some, write_some, write_some, write_some, write_some, append_some, splice_some, resize,
		make_hole, allocate, read_on, read_on, hold_some, seek,
	};

	calls[draw(&model->seed, ARRAY_LEN(calls))](model);
	check_figures(model);
	if (draw(&model->seed, 40) == 0)
		compare(model);
	/* It has become as long as the model can be: it begins anew, or goes on with less. */
	if (model->len > MOST - 2 * SOURCE) {
		model->len = model->drained > MiB ? model->drained : MiB + model->drained / 2;
		expect(model, set_length(model->fd, model->len) == 0, "a shorter length");
		if (model->position > model->len)
			model->position = lseek(model->reader, model->len, SEEK_SET);
	}
}

FIXTURE(model) {
	struct model model;
};

FIXTURE_VARIANT(model) {
	int (*open)(int flags);
	bool drains;
};

FIXTURE_VARIANT_ADD(model, device) { .open = open_device };
FIXTURE_VARIANT_ADD(model, file) { .open = open_file };
FIXTURE_VARIANT_ADD(model, drained) { .open = open_device, .drains = true };

FIXTURE_SETUP(model)
{
	struct model *model = &self->model;

	*model = (struct model){ .drains = variant->drains, .fd = variant->open(O_RDWR) };
	ASSERT_LE(0, model->fd);
	model->reader = open_handle(model->fd, O_RDONLY);
	model->file = open_handle(model->fd, O_RDWR);
	ASSERT_LE(0, model->reader);
	ASSERT_LE(0, model->file);
	model->bytes = calloc(MOST, 1);
	model->source = mmap(NULL, SOURCE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(NULL, model->bytes);
	ASSERT_NE(MAP_FAILED, (void *)model->source);
	if (!model->drains) {
		model->shared = map(model);
		ASSERT_NE(MAP_FAILED, (void *)model->shared);
	}
	ASSERT_EQ(0, munmap(model->source + SOURCE, PAGE));
	fill(model->source, SOURCE, 0, 1);
	/* A stream that is long enough for memory ahead of writes. */
	ASSERT_EQ(MiB, put_at(model->fd, 0, MiB, 2));
	fill(model->bytes, MiB, 0, 2);
	model->len = MiB;
	if (model->drains)
		ASSERT_EQ(0, set_flags(model->fd, QEMUFILE_STREAM_DRAIN));
}

FIXTURE_TEARDOWN(model)
{
	struct model *model = &self->model;

	for (int i = 0; i < HOLDS; i++)
		let_go(model, &model->holds[i]);
	free(model->bytes);
	munmap(model->source, SOURCE);
	if (model->shared)
		munmap(model->shared, MOST);
	close(model->fd);
	close(model->reader);
	close(model->file);
}

TEST_F(model, is_what_the_stream_is)
{
	struct model *model = &self->model;
	/* Another one each time: a failure tells it. */
	unsigned int seed = getenv("SEED") ? atoi(getenv("SEED")) : now_ms();
	int steps = 0;

	for (model->seed = seed; steps < STEPS && !model->wrong; steps++)
		step(model);
	compare(model);
	for (int i = 0; i < HOLDS; i++)
		let_go(model, &model->holds[i]);
	EXPECT_EQ(NULL, model->wrong)
		TH_LOG("%s is wrong after %d steps: SEED=%u", model->wrong, steps, seed);
}

TEST_HARNESS_MAIN
