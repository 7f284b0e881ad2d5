/* SPDX-License-Identifier: GPL-2.0-only */
/* Saving: the memory of the normal kernel becomes an image. */
#ifndef IMAGE_SAVE_H
#define IMAGE_SAVE_H

#include "handoff.h"
#include "image_stats.h"

struct save_job {
	const char *disk;
	u64 entry;
	u64 handoff_phys;
	const struct handoff *handoff;
	const u8 *skip;		/* a bit a page frame that need not be saved */
	u64 skip_frames;
};

int image_save(const struct save_job *job, struct image_stats *stats);

#endif
