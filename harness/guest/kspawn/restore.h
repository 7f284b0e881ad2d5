/* SPDX-License-Identifier: GPL-2.0-only */
/* Restoring: an image becomes the memory of the normal kernel. */
#ifndef RESTORE_H
#define RESTORE_H

#include "image.h"

/* A way to write the memory of the normal kernel. */
struct memory_way {
	const char *name;
	/* Before the first put(); @entry is where the jump will go. */
	int (*begin)(void *context, u64 entry);
	image_sink *put;
	/* Whole pages, all bytes the same. */
	int (*fill)(void *context, u64 phys, u64 len, u8 value);
	/* Writes what put() and fill() may have kept back. */
	int (*flush)(void *context);
	void *context;
};

/* Restores the image on @disk; *entry is where to jump. */
int image_restore(const char *disk, const struct memory_way *way, bool scribble,
		  u64 *entry, struct image_stats *stats);

#endif
