// SPDX-License-Identifier: GPL-2.0-only
/* Patterns. */
#include <string.h>

#include "pattern.h"
#include "report.h"

uint64_t nonce;

/* FNV-1a, in the 24 bits that pattern() has for it. */
unsigned int salt(const char *name, unsigned int piece)
{
	uint32_t hash = 2166136261;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619;
	return (hash ^ hash >> 24 ^ piece * 0x9e3779b1) & 0xffffff;
}

static uint64_t pattern(unsigned int kind, size_t word)
{
	return mix(nonce, ((uint64_t)kind << 40) + word);
}

uint64_t value_of(unsigned int kind)
{
	return pattern(kind, 0);
}

/* Offsets are those in the whole that the buffer is a piece of. */
void fill(void *buffer, size_t bytes, unsigned int kind, size_t offset)
{
	size_t i = 0;

	for (; i + 8 <= bytes; i += 8) {
		uint64_t word = pattern(kind, (offset + i) / 8);

		/* Of known length: the compiler makes one store of it. */
		memcpy((char *)buffer + i, &word, 8);
	}
	if (i < bytes) {
		uint64_t word = pattern(kind, (offset + i) / 8);

		memcpy((char *)buffer + i, &word, bytes - i);
	}
}

static void compare_word(struct difference *diff, uint64_t is,
			 uint64_t expected, size_t offset)
{
	diff->words++;
	if (is == expected)
		return;
	if (!diff->differ++) {
		diff->offset = offset;
		diff->is = is;
		diff->expected = expected;
	}
}

void compare(struct difference *diff, const void *buffer, size_t bytes,
	     unsigned int kind, size_t offset)
{
	size_t i = 0;

	for (; i + 8 <= bytes; i += 8) {
		uint64_t is;

		memcpy(&is, (const char *)buffer + i, 8);
		compare_word(diff, is, pattern(kind, (offset + i) / 8),
			     offset + i);
	}
	if (i < bytes) {
		uint64_t is = 0, mask = (1ULL << (8 * (bytes - i))) - 1;

		/* Little-endian: this cuts off the bytes after the end. */
		memcpy(&is, (const char *)buffer + i, bytes - i);
		compare_word(diff, is,
			     pattern(kind, (offset + i) / 8) & mask,
			     offset + i);
	}
}

bool fail_difference(char *detail, const char *what,
		     const struct difference *diff)
{
	return fail(detail,
		    "%s, offset %zu: 0x%016llx instead of 0x%016llx, %zu of %zu words differ",
		    what, diff->offset, (unsigned long long)diff->is,
		    (unsigned long long)diff->expected, diff->differ,
		    diff->words);
}
