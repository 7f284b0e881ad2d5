/* SPDX-License-Identifier: GPL-2.0-only */
/* An image on a disk; its header is whole, and it is of this machine. */
#ifndef IMAGE_H
#define IMAGE_H

#include "image_stats.h"
#include "ranges.h"

struct image;

struct image_facts {
	u64 entry;
	const struct ranges *ram;
	struct image_stats stats;
	char release[64];
	char boot_id[40];
	const char *vmcoreinfo;	/* text, not terminated, or NULL */
	size_t vmcoreinfo_len;
};

/* Stored memory, then memory that is filled with a byte; in bytes, whole pages. */
struct image_segment {
	u64 phys;
	u64 stored;
	u64 size;
	u8 value;
};

/* Takes stored memory; whole pages. */
typedef int image_sink(void *context, u64 phys, const void *data, size_t len);

/* @machine: its RAM, by its firmware; NULL: what the running kernel says. */
struct image *image_open(const char *disk, const struct ranges *machine);
int image_close(struct image *image);
void image_facts(const struct image *image, struct image_facts *facts);
/* @index: below the number of segments in the facts; they ascend. */
void image_segment(const struct image *image, u32 index, struct image_segment *seg);
/* Gives all stored memory to @sink, each piece after its checksum was found right. */
int image_stored(struct image *image, image_sink *sink, void *context);
int image_invalidate(const char *disk);

#endif
