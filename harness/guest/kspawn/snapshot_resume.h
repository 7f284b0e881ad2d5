/* SPDX-License-Identifier: GPL-2.0-only */
/* A resume through /dev/snapshot: what its parts share. */
#ifndef SNAPSHOT_RESUME_H
#define SNAPSHOT_RESUME_H

#include "image.h"

#define ROLE		"resuming"
#define STUB_BASE	0x100000UL	/* where restore_image() jumps to */
#define STUB_HIGH	0xffffffff80000000UL	/* its address there is as much more */

struct resume {
	const char *disk;
	bool scribble;
	struct image *image;
	struct image_facts facts;
	bool five_levels;
	u8 *stub;		/* code, page tables, list */
	u64 stub_pages;
	u64 cr3;
	u64 pages;		/* of the image, with those of the stub */
	int fd;
};

#endif
