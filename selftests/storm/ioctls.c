// SPDX-License-Identifier: GPL-2.0
/* The calls of linux/qemufile.h. */
#include "storm.h"

int set_limit(int fd, uint64_t bytes)
{
	struct qemufile_limit limit = { .limit = bytes };

	return ioctl(fd, QEMUFILE_IOC_SET_LIMIT, &limit);
}

static uint64_t some_limit(void)
{
	return one_in(3) ? below(LIMIT) + 1 : LIMIT;
}

static struct qemufile_open opening(void)
{
	return (struct qemufile_open){
		.mode = one_in(16) ? edge() : 1 + below(3),
		.flags = one_in(16) ? edge() : QEMUFILE_OPEN_NONBLOCK * !one_in(4) |
					       QEMUFILE_OPEN_APPEND * one_in(8),
	};
}

/* An ioctl whose argument is sometimes not where it should be. */
int call(int fd, unsigned long number, void *argument, size_t len)
{
	void *at;

	if (!one_in(16))
		return ioctl(fd, number, argument);
	at = one_in(2) ? address(len) : arena + ARENA - below(len);
	return ioctl(fd, number, at);
}

int typed(unsigned long number)
{
	static struct qemufile_record records[QEMUFILE_MAX_RECORDS];
	static const uint64_t most[] = { UINT8_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX };
	unsigned int count = one_in(32) ? below(ARRAY_LEN(records)) : below(8);
	struct qemufile_vector vector = {
		.records = (uintptr_t)records,
		.count = one_in(32) ? edge() : count,
		.offset = number == QEMUFILE_IOC_PEEK ? place() : zero(),
		.flags = zero(),
		.reserved = zero(),
	};

	for (unsigned int i = 0; i < count; i++) {
		struct qemufile_record *record = &records[i];

		*record = (struct qemufile_record){
			.type = one_in(64) ? edge() : below(5),
			.flags = one_in(64) ? edge() : 0,
		};
		if (record->type < QEMUFILE_BUFFER) {
			record->value = one_in(64) ? edge() : chance() & most[record->type];
			record->length = one_in(64) ? edge() : 0;
		} else {
			record->length = one_in(64) ? edge() : below(PAGE);
			record->value = (uintptr_t)address(record->length < ARENA ?
							   record->length : 0);
		}
	}
	/* Beyond the array there is nothing but more of our own memory. */
	if (vector.count > ARRAY_LEN(records) || one_in(64))
		vector.records = (uintptr_t)(arena + ARENA - PAGE * below(2));
	return CALL(handle(), number, &vector);
}

int set_some_flags(void)
{
	/* What cannot be undone is rare, or soon nothing could be written any more. */
	uint32_t set = one_in(4) ? QEMUFILE_STREAM_DRAIN :
		       one_in(8) ? QEMUFILE_STREAM_APPEND :
		       one_in(8) ? QEMUFILE_STREAM_SEALED :
		       one_in(8) ? QEMUFILE_STREAM_NOSHARE : 0;
	struct qemufile_flags flags = { .set = one_in(16) ? set | edge() << 4 : set, .flags = zero() };

	return CALL(handle(), QEMUFILE_IOC_SET_FLAGS, &flags);
}

/* Limits from the edges are for a stream that nobody else has. */
int set_any_limit(void)
{
	struct qemufile_limit limit = { .limit = some_limit() };
	int fd, result;

	if (!one_in(4))
		return CALL(handle(), QEMUFILE_IOC_SET_LIMIT, &limit);
	fd = open("/dev/qemufile", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	limit = (struct qemufile_limit){ edge(), zero(), zero() };
	result = CALL(fd, QEMUFILE_IOC_SET_LIMIT, &limit);
	if (write(fd, arena, size() % ARENA) > 0)
		set_limit(fd, edge());
	close(fd);
	return result;
}

/* A new stream may take the place of a handle; its limit comes first. */
int new_handle(unsigned long number)
{
	struct qemufile_open open = opening();
	int fd = CALL(handle(), number, &open);

	keep(number == QEMUFILE_IOC_CLONE ? limited(fd) : fd);
	return fd;
}
