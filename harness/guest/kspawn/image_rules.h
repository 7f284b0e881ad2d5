/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What must hold of an image before a byte of it is written to memory: the
 * rules of docs/image-format.md, which harness/image/rules.py keeps as well.
 */
#ifndef IMAGE_RULES_H
#define IMAGE_RULES_H

#include <elf.h>

#include "image_format.h"
#include "ranges.h"

/* What an image claims, once its header was found whole. */
struct claim {
	const struct info *info;
	const Elf64_Phdr *loads;	/* the segments */
	u32 segments;
	u32 nr_sums;
	u64 disk_bytes;
	const struct ranges *machine;	/* its RAM, by its firmware; or empty */
};

/* The sum of where all goes: info.places. */
u32 places_begin(u64 entry);
u32 places_add(u32 sum, u64 phys, u64 stored, u64 size);

/* The version, before anything else of the info is looked at. */
int check_version(const void *desc, u32 size);
int check_claim(const struct claim *claim);

#endif
