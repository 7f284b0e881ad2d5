/* SPDX-License-Identifier: GPL-2.0-only */
/* Ranges of physical addresses. */
#ifndef RANGES_H
#define RANGES_H

#include "types.h"

#define MAX_RANGES	32

struct range {
	u64 start;
	u64 end;		/* excluded */
};

struct ranges {
	u32 nr;
	struct range r[MAX_RANGES];
};

int ranges_add(struct ranges *ranges, u64 start, u64 end);
bool ranges_equal(const struct ranges *a, const struct ranges *b);
/* Whether one of the ranges holds all of @start to @end. */
bool ranges_hold(const struct ranges *ranges, u64 start, u64 end);
u64 ranges_bytes(const struct ranges *ranges);
/* The part of @in at or above @floor; whole pages. */
void ranges_above(const struct ranges *in, u64 floor, struct ranges *out);

#endif
