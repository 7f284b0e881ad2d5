// SPDX-License-Identifier: GPL-2.0-only
/* XXH64 as in the specification of xxHash, with seed 0, of whole blocks. */
#include <string.h>

#include "types.h"
#include "xxh64.h"

#define P1	0x9e3779b185ebca87ULL
#define P2	0xc2b2ae3d27d4eb4fULL
#define P3	0x165667b19e3779f9ULL
#define P4	0x85ebca77c2b2ae63ULL

static inline u64 rotl(u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static inline u64 word(const u8 *p)
{
	u64 value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static inline u64 mix(u64 lane, u64 input)
{
	return rotl(lane + input * P2, 31) * P1;
}

static inline u64 merge(u64 sum, u64 lane)
{
	return (sum ^ mix(0, lane)) * P1 + P4;
}

static u64 lanes(const u8 *p, size_t len)
{
	u64 a = P1 + P2, b = P2, c = 0, d = -P1;
	u64 sum;

	for (; len >= 32; len -= 32, p += 32) {
		a = mix(a, word(p));
		b = mix(b, word(p + 8));
		c = mix(c, word(p + 16));
		d = mix(d, word(p + 24));
	}
	sum = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18);
	return merge(merge(merge(merge(sum, a), b), c), d);
}

u64 xxh64(const void *data, size_t len)
{
	u64 sum = lanes(data, len) + len;

	sum = (sum ^ sum >> 33) * P2;
	sum = (sum ^ sum >> 29) * P3;
	return sum ^ sum >> 32;
}
