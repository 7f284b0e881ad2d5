// SPDX-License-Identifier: GPL-2.0-only
/* How much there is of an image. */
#include "clock.h"
#include "image_stats.h"
#include "status.h"
#include "types.h"

void js_stats(struct json *js, const struct image_stats *stats)
{
	js_num(js, "stored_bytes", stats->stored_bytes);
	js_num(js, "zero_bytes", stats->zero_bytes);
	js_num(js, "free_bytes", stats->free_bytes);
	js_num(js, "file_bytes", stats->file_bytes);
	js_num(js, "segments", stats->segments);
}

void js_image(struct json *js, const char *role, const char *event,
		     const struct image_stats *stats, u64 started)
{
	js_begin(js, role, event);
	js_stats(js, stats);
	js_num(js, "took_ms", monotonic_ms() - started);
}
