// SPDX-License-Identifier: GPL-2.0-only
/* The resuming kernel: restores an image, or goes on without one. */
#include "boot_options.h"
#include "clock.h"
#include "dev_mem.h"
#include "files.h"
#include "grow.h"
#include "image.h"
#include "image_stats.h"
#include "in_place.h"
#include "in_place_probe.h"
#include "jump_back.h"
#include "power_off.h"
#include "restore.h"
#include "resuming.h"
#include "status.h"
#include "types.h"
#include "userland.h"

/* There is no image: go on as a normal kernel, with all the memory. */
static int go_on(const struct boot_options *o)
{
	struct grown grown;
	struct json js;
	u64 started = monotonic_ms();
	u32 files;

	if (memory_grow(&grown))
		return -1;
	js_begin(&js, o->role, "grown");
	js_num(&js, "blocks", grown.added);
	js_num(&js, "refused_blocks", grown.refused);
	js_num(&js, "block_bytes", grown.block_bytes);
	js_num(&js, "left_bytes", grown.left_bytes);
	js_num(&js, "memtotal_kb", meminfo_kb("MemTotal:"));
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	started = monotonic_ms();
	if (userland_unpack(o->userland, &files))
		return -1;
	js_begin(&js, o->role, "userland");
	js_num(&js, "files", files);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	return userland_enter();
}

static int restore(const struct boot_options *o, u64 *entry)
{
	const struct memory_way *way = &dev_mem_way;
	struct image_stats stats;
	u64 started = monotonic_ms();
	struct json js;

	if (o->probe && in_place_probe(o->role))
		return -1;
	if (o->in_place)
		way = in_place_way();
	if (!way)
		return -1;
	js_begin(&js, o->role, "restoring");
	js_str(&js, "by", way->name);
	js_emit(&js);
	if (image_restore(o->disk, way, o->scribble, entry, &stats))
		return -1;
	/* With this the image is loaded, or what goes back to it. */
	if (o->in_place ? in_place_load(*entry) : jump_back_load(*entry, false))
		return -1;
	js_image(&js, o->role, "restored", &stats, started);
	js_str(&js, "by", way->name);
	if (o->in_place)
		js_num(&js, "calls", in_place_calls());
	js_emit(&js);
	return 0;
}

void run_resuming(const struct boot_options *o)
{
	u64 entry;

	if (restore(o, &entry)) {
		status_failure(o->role, "refused");
		if (o->userland[0] && go_on(o))
			status_failure(o->role, "error");
		power_off(o);
		return;
	}
	/* An image is given up when nothing but the jump itself can fail. */
	if (image_invalidate(o->disk)) {
		status_failure(o->role, "refused");
		power_off(o);
	} else if (jump_back_go()) {
		status_failure(o->role, "error");
		power_off(o);
	}
}
