// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a stream that a device stores to (O_DIRECT). The kernel has given the
 * device the pages before, so neither a page fault nor the end of the mapping
 * stops it.
 */
#include "harness.h"
#include "ram.h"
#include "device.h"

/* A device stores 100 bytes to the start of the stream's memory, when it is told to. */
FIXTURE(ram_device) {
	int fd;
	char *memory;
	char bytes[100];
	struct dma dma;
};

FIXTURE_SETUP(ram_device)
{
	self->fd = open_file(O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(4 * PAGE, put_at(self->fd, 0, 4 * PAGE, 1));
	self->memory = map_ram(self->fd, 4 * PAGE);
	ASSERT_NE(NULL, self->memory);
	memset(self->bytes, 'd', sizeof(self->bytes));
	ASSERT_TRUE(dma_begin(&self->dma, self->memory, sizeof(self->bytes))) TH_LOG("%m");
}

FIXTURE_TEARDOWN(ram_device)
{
	close(self->fd);
}

TEST_F(ram_device, stores_beside_a_change_of_the_same_page)
{
	char bytes[PAGE];
	struct iovec vec = { bytes, 100 };

	memset(bytes, 'a', PAGE);
	ASSERT_EQ(0, punch(self->fd, 1000, 100));
	ASSERT_EQ(100, pwrite(self->fd, bytes, 100, 1100));
	/* These two bring pages of their own. */
	ASSERT_EQ(100, pwritev2(self->fd, &vec, 1, 1200, RWF_ATOMIC));
	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 1300, PAGE));
	self->memory[100] = 's';
	ASSERT_TRUE(dma_end(&self->dma, self->bytes));
	for (int i = 0; i < 1300 + PAGE + 100; i++) {
		char expected = i < 100 ? 'd' :
				i == 100 ? 's' :
				i < 1000 ? (char)byte_at(i, 1) :
				i < 1100 ? 0 :
				i < 1300 ? 'a' :
				i < 1300 + PAGE ? 0 : (char)byte_at(i, 1);

		ASSERT_EQ(expected, char_at(self->fd, i)) TH_LOG("%d", i);
		ASSERT_EQ(expected, self->memory[i]) TH_LOG("%d", i);
	}
}

TEST_F(ram_device, stores_to_no_copy)
{
	int other = open_file(O_RDWR), clone, second, ends[2];
	char bytes[100];

	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(PAGE, splice(self->fd, &(loff_t){ 0 }, ends[1], NULL, PAGE, 0));
	clone = open_clone(self->fd, O_RDWR);
	second = open_clone(self->fd, O_RDWR);
	ASSERT_EQ(0, clone_range(other, self->fd, 0, 2 * PAGE, 0));
	ASSERT_EQ(0, clone_range(self->fd, self->fd, 0, PAGE, 2 * PAGE));
	ASSERT_TRUE(dma_end(&self->dma, self->bytes));
	EXPECT_EQ('d', self->memory[0]);
	EXPECT_EQ('d', char_at(self->fd, 99));
	EXPECT_EQ(PAGE, right_at(clone, 0, PAGE, 1));
	EXPECT_EQ(PAGE, right_at(second, 0, PAGE, 1));
	EXPECT_EQ(PAGE, right_at(other, 0, PAGE, 1));
	EXPECT_EQ((char)byte_at(0, 1), char_at(self->fd, 2 * PAGE));
	ASSERT_EQ(100, read(ends[0], bytes, 100));
	EXPECT_EQ(100, right(bytes, 100, 0, 1));
}

TEST_F(ram_device, keeps_a_seal_away_also_without_the_mapping)
{
	ASSERT_EQ(0, munmap(self->memory, 4 * PAGE));
	EXPECT_EQ(EBUSY, ERRNO_OF(set_flags(self->fd, QEMUFILE_STREAM_SEALED)));
	ASSERT_TRUE(dma_end(&self->dma, self->bytes));
	EXPECT_EQ('d', char_at(self->fd, 99));
	EXPECT_EQ(0, set_flags(self->fd, QEMUFILE_STREAM_SEALED));
}

TEST_HARNESS_MAIN
