// SPDX-License-Identifier: GPL-2.0-only
/* Ranges of physical addresses. */
#include <string.h>

#include "failure.h"
#include "ranges.h"
#include "types.h"

int ranges_add(struct ranges *ranges, u64 start, u64 end)
{
	struct range *last = ranges->nr ? &ranges->r[ranges->nr - 1] : NULL;

	for (u32 i = 0; i < ranges->nr; i++)
		/* A block that was hot-added has an entry in both maps. */
		if (start >= ranges->r[i].start && end <= ranges->r[i].end)
			return 0;
	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	if (ranges->nr == MAX_RANGES)
		return fail("too-many-ranges", "more than %d ranges of memory",
			    MAX_RANGES);
	ranges->r[ranges->nr++] = (struct range){ start, end };
	return 0;
}

bool ranges_equal(const struct ranges *a, const struct ranges *b)
{
	return a->nr == b->nr &&
	       !memcmp(a->r, b->r, a->nr * sizeof(a->r[0]));
}

bool ranges_hold(const struct ranges *ranges, u64 start, u64 end)
{
	for (u32 i = 0; i < ranges->nr; i++)
		if (start >= ranges->r[i].start && end <= ranges->r[i].end)
			return true;
	return false;
}

u64 ranges_bytes(const struct ranges *ranges)
{
	u64 sum = 0;

	for (u32 i = 0; i < ranges->nr; i++)
		sum += ranges->r[i].end - ranges->r[i].start;
	return sum;
}

void ranges_above(const struct ranges *in, u64 floor, struct ranges *out)
{
	out->nr = 0;
	for (u32 i = 0; i < in->nr; i++) {
		/* Whole pages only: a kernel uses no others. */
		u64 start = (in->r[i].start + PAGE - 1) & ~(PAGE - 1);
		u64 end = in->r[i].end & ~(PAGE - 1);

		if (start < floor)
			start = floor;
		if (start < end)
			out->r[out->nr++] = (struct range){ start, end };
	}
}
