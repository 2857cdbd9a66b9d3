/* SPDX-License-Identifier: GPL-2.0 */
/* Bytes that tell where they belong. Included by harness.h. */
#ifndef QEMUFILE_SELFTESTS_BYTES_H
#define QEMUFILE_SELFTESTS_BYTES_H

/* The seed of bytes that are all zero. */
#define ZEROS 0

/* The eight bytes with the number @index of the sequence @seed. */
static inline uint64_t word_at(uint64_t index, unsigned int seed)
{
	uint64_t word = (index + ((uint64_t)seed << 56) + 1) * 0x9e3779b97f4a7c15ULL;

	return seed == ZEROS ? 0 : word ^ word >> 29;
}

/* The byte that the sequence @seed has at @pos. */
static inline unsigned char byte_at(uint64_t pos, unsigned int seed)
{
	return word_at(pos / 8, seed) >> 8 * (pos % 8);
}

/*
 * Fills memory with what the sequence @seed has from @pos on. Emulated, this and
 * right() take longer than what they test: a word at a time, where they can.
 */
static inline void *fill(void *memory, size_t len, uint64_t pos, unsigned int seed)
{
	unsigned char *bytes = memory;
	size_t i = 0;

	for (; i < len && (pos + i) % 8; i++)
		bytes[i] = byte_at(pos + i, seed);
	for (uint64_t index = (pos + i) / 8; len - i >= 8; i += 8) {
		uint64_t word = word_at(index++, seed);

		memcpy(bytes + i, &word, 8);
	}
	for (; i < len; i++)
		bytes[i] = byte_at(pos + i, seed);
	return memory;
}

/* How many bytes from the start are those of the sequence @seed from @pos on. */
static inline long long right(const void *memory, size_t len, uint64_t pos, unsigned int seed)
{
	const unsigned char *bytes = memory;
	size_t i = 0;

	while (i < len && (pos + i) % 8 && bytes[i] == byte_at(pos + i, seed))
		i++;
	if ((pos + i) % 8 == 0) {
		for (uint64_t index = (pos + i) / 8; len - i >= 8; i += 8) {
			uint64_t word = word_at(index++, seed);

			if (memcmp(bytes + i, &word, 8))
				break;
		}
	}
	while (i < len && bytes[i] == byte_at(pos + i, seed))
		i++;
	return i;
}

/* How many bytes of the stream, from @pos on, are those of the sequence @seed. */
static inline long long right_at(int fd, off_t pos, size_t len, unsigned int seed)
{
	static _Thread_local unsigned char bytes[1 << 16];
	size_t done = 0;

	while (done < len) {
		size_t most = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		ssize_t got = pread(fd, bytes, most, pos + done);
		long long good = got < 0 ? 0 : right(bytes, got, pos + done, seed);

		done += good;
		if (got <= 0 || good < got)
			break;
	}
	return done;
}

/* Writes what the sequence @seed has from @pos on; returns how many bytes were taken. */
static inline long long put_at(int fd, off_t pos, size_t len, unsigned int seed)
{
	static _Thread_local unsigned char bytes[1 << 16];
	size_t done = 0;

	while (done < len) {
		size_t most = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		ssize_t put = pwrite(fd, fill(bytes, most, pos + done, seed), most, pos + done);

		if (put <= 0)
			break;
		done += put;
	}
	return done;
}

/* The next of a row of numbers below @end that look drawn by chance. */
static inline int draw(unsigned int *seed, int end)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % end;
}

/* How many of the next @len bytes to be read are those of the sequence @seed from @pos on. */
static inline long long take(int fd, long long len, uint64_t pos, unsigned int seed)
{
	static _Thread_local unsigned char bytes[1 << 16];
	long long done = 0;

	while (done < len) {
		size_t most = len - done < (long long)sizeof(bytes) ? len - done : (long long)sizeof(bytes);
		ssize_t got = read(fd, bytes, most);

		if (got <= 0 || right(bytes, got, pos + done, seed) != got)
			break;
		done += got;
	}
	return done;
}

#endif /* QEMUFILE_SELFTESTS_BYTES_H */
