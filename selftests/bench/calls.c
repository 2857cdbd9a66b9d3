// SPDX-License-Identifier: GPL-2.0
/* Short calls: a stream's life, and a header of typed values. */
#include <endian.h>

#include "bench.h"

#define LIVES 500
#define HEADERS 5000

static void open_write_close(struct run *run)
{
	for (int i = 0; i < LIVES; i++) {
		int fd = open_peer(run);

		must(run, "write", write(fd, pattern, PAGE) == PAGE);
		close(fd);
	}
	run->calls = LIVES;
	run->bytes = LIVES * PAGE;
}

static void open_another(struct run *run)
{
	run->fd = open_peer(run);
	must(run, "write", write(run->fd, pattern, PAGE) == PAGE);
}

static void open_new(struct run *run)
{
	run->fd = open_peer(run);
}

/*
 * A section header of QEMU: a byte, be32s, a be64, a be16 and a name. For a peer the program
 * encodes the values into a buffer, and writes this once.
 */
static void put_header(struct run *run)
{
	static char name[12] = "virtio-net/0";
	struct qemufile_record records[] = {
		{ .type = QEMUFILE_BYTE, .value = 4 },
		{ .type = QEMUFILE_BE32, .value = 7 },
		{ .type = QEMUFILE_BYTE, .value = sizeof(name) },
		{ .type = QEMUFILE_BUFFER, .value = (uintptr_t)name, .length = sizeof(name) },
		{ .type = QEMUFILE_BE32, .value = 0 },
		{ .type = QEMUFILE_BE32, .value = 11 },
		{ .type = QEMUFILE_BE64, .value = 0x123456789abc },
		{ .type = QEMUFILE_BE16, .value = 1500 },
		{ .type = QEMUFILE_BE32, .value = 3 },
		{ .type = QEMUFILE_BYTE, .value = 0x7e },
	};
	struct {
		uint8_t kind;
		uint32_t section;
		uint8_t length;
		char name[sizeof(name)];
		uint32_t instance, version;
		uint64_t features;
		uint16_t mtu;
		uint32_t queues;
		uint8_t footer;
	} __attribute__((packed)) bytes;
	struct qemufile_vector vector = {
		.records = (uintptr_t)records, .count = ARRAY_LEN(records),
	};

	for (int i = 0; i < HEADERS; i++) {
		if (run->peer == QEMUFILE) {
			must(run, "PUT", ioctl(run->fd, QEMUFILE_IOC_PUT, &vector) == 0);
			continue;
		}
		bytes.kind = 4;
		bytes.section = htobe32(7);
		bytes.length = sizeof(name);
		memcpy(bytes.name, name, sizeof(name));
		bytes.instance = htobe32(0);
		bytes.version = htobe32(11);
		bytes.features = htobe64(0x123456789abc);
		bytes.mtu = htobe16(1500);
		bytes.queues = htobe32(3);
		bytes.footer = 0x7e;
		must(run, "write", write(run->fd, &bytes, sizeof(bytes)) == sizeof(bytes));
	}
	run->calls = HEADERS;
	run->bytes = HEADERS * sizeof(bytes);
}

static const struct work works[] = {
	{ .name = "open, write 4 KiB, close", .peers = FILES, .round = open_write_close },
	{ .name = "open, write 4 KiB, close; another is open", .peers = FILES,
	  .before = open_another, .round = open_write_close, .after = close_file },
	{ .name = "typed header, PUT of 10 records", .peers = FILES, .before = open_new,
	  .round = put_header, .after = close_file },
};

const struct subject calls = { works, ARRAY_LEN(works) };
