// SPDX-License-Identifier: GPL-2.0-only
/* Restoring, by whichever way writes the memory. */
#include "image.h"
#include "image_stats.h"
#include "ranges.h"
#include "restore.h"
#include "types.h"

static int restore_all(struct image *image, const struct image_facts *facts,
		       const struct memory_way *way, bool scribble)
{
	const struct ranges *ram = facts->ram;
	struct image_segment seg;

	if (way->begin(way->context, facts->entry))
		return -1;
	for (u32 i = 0; scribble && i < ram->nr; i++)
		if (way->fill(way->context, ram->r[i].start,
			      ram->r[i].end - ram->r[i].start, 0xa5))
			return -1;
	if (image_stored(image, way->put, way->context))
		return -1;
	/* RAM that was off is zero by luck only, and some is to be another byte. */
	for (u32 i = 0; i < facts->stats.segments; i++) {
		image_segment(image, i, &seg);
		if (seg.size > seg.stored &&
		    way->fill(way->context, seg.phys + seg.stored,
			      seg.size - seg.stored, seg.value))
			return -1;
	}
	return way->flush(way->context);
}

int image_restore(const char *disk, const struct memory_way *way, bool scribble,
		  u64 *entry, struct image_stats *stats)
{
	struct image *image = image_open(disk, NULL);
	struct image_facts facts;
	int err;

	if (!image)
		return -1;
	image_facts(image, &facts);
	*entry = facts.entry;
	*stats = facts.stats;
	err = restore_all(image, &facts, way, scribble);
	return image_close(image) || err ? -1 : 0;
}
