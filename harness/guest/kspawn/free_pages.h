/* SPDX-License-Identifier: GPL-2.0-only */
/* The free pages of the normal kernel, found by its struct pages. */
#ifndef FREE_PAGES_H
#define FREE_PAGES_H

#include "handoff.h"

/* What the filter found, in pages. */
struct free_stats {
	u64 free_pages;
	u64 below_pages;	/* of these, below 16 MiB: not in the image */
	u64 listed_pages;	/* in the kernel's free lists, by its own count */
	u64 unknown_pages;	/* not understood, so they are kept */
};

u8 *free_pages_find(const struct handoff *ho, u64 *frames,
		    struct free_stats *stats);

#endif
