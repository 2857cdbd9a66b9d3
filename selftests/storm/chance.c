// SPDX-License-Identifier: GPL-2.0
/* Numbers drawn by chance: places in a stream, and the edges of things. */
#include "storm.h"

uint64_t state;

uint64_t chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

unsigned int below(unsigned int end)
{
	return (chance() >> 20) % end;
}

bool one_in(unsigned int count)
{
	return below(count) == 0;
}

/* A number that is likely to be an edge of something. */
uint64_t edge(void)
{
	static const uint64_t edges[] = {
		0, 1, 2, 7, 8, PAGE, 64 << 10, LIMIT, 256 << 10, 1 << 20, 1ULL << 30,
		INT32_MAX, UINT32_MAX, 1ULL << 32, 1ULL << 40, INT64_MAX - PAGE,
		INT64_MAX, 1ULL << 63, UINT64_MAX - PAGE, UINT64_MAX,
	};
	uint64_t number = edges[below(ARRAY_LEN(edges))];

	switch (below(4)) {
	case 0:
		return number - 1;
	case 1:
		return number + 1;
	case 2:
		return chance() >> below(64);
	default:
		return number;
	}
}

/* A position or a length that is mostly one of a stream. */
uint64_t place(void)
{
	switch (below(8)) {
	case 0:
		return edge();
	case 1:
	case 2:
		return (uint64_t)below(LIMIT / PAGE + 1) * PAGE;
	default:
		return below(LIMIT + PAGE);
	}
}

/* For a word that should be zero. */
uint32_t zero(void)
{
	return one_in(16) ? edge() : 0;
}
