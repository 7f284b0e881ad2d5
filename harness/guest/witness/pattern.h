/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Patterns: what a witness puts where, and finds again. Each is of the nonce of
 * the process, so that no witness is content with the state of another, and of
 * a salt, so that no two pieces of state are alike.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include "types.h"

extern uint64_t nonce;

/* A well mixed 64-bit word for each index. */
static inline uint64_t mix(uint64_t seed, uint64_t index)
{
	uint64_t word = seed ^ (index * 0x9e3779b97f4a7c15ULL);

	word ^= word >> 32;
	word *= 0xd6e8feb86659fd93ULL;
	word ^= word >> 29;
	word *= 0xa0761d6478bd642fULL;
	return word ^ (word >> 32);
}

/* The salt of a piece of state: the name of its witness, and which piece. */
unsigned int salt(const char *name, unsigned int piece);

/* A number that is known from its salt. */
uint64_t value_of(unsigned int salt);

/* What compare() found, over one or more pieces. */
struct difference {
	size_t words, differ;
	size_t offset;
	uint64_t is, expected;
};

/* Offsets are those in the whole that the buffer is a piece of. */
void fill(void *buffer, size_t bytes, unsigned int salt, size_t offset);
void compare(struct difference *diff, const void *buffer, size_t bytes,
	     unsigned int salt, size_t offset);
bool fail_difference(char *detail, const char *what,
		     const struct difference *diff);

#endif
