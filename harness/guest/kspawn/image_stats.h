/* SPDX-License-Identifier: GPL-2.0-only */
/* How much there is of an image. */
#ifndef IMAGE_STATS_H
#define IMAGE_STATS_H

#include "status.h"
#include "types.h"

struct image_stats {
	u64 stored_bytes;
	u64 zero_bytes;
	u64 free_bytes;
	u64 file_bytes;
	u32 segments;
};

void js_stats(struct json *js, const struct image_stats *stats);
/* Begins a line about an image that took its time since @started. */
void js_image(struct json *js, const char *role, const char *event,
	      const struct image_stats *stats, u64 started);

#endif
