// SPDX-License-Identifier: GPL-2.0-only
/* The page list of the jump. */
#define _GNU_SOURCE	/* memmem() */
#include <stdlib.h>
#include <string.h>

#include "backup.h"
#include "failure.h"
#include "physical.h"
#include "ranges.h"
#include "types.h"

#include <layouts.h>

/*
 * The page list that the jump walked, as include/linux/kexec.h defines it.
 * relocate_kernel_64.S keeps its address in the page of the jump back entry;
 * where, the code at the entry tells that reads it.
 */
#define IND_DESTINATION		0x1
#define IND_INDIRECTION		0x2
#define IND_DONE		0x4
#define IND_SOURCE		0x8

static u32 backup_frame[SPAWNED_END / PAGE];
static bool backup_known;

static u64 pages_map_at(u64 entry)
{
	u8 code[PAGE_LIST_REACH + 16];

	if (phys_read(entry, code, sizeof(code)))
		return 0;
	for (size_t l = 0; l < ARRAY_SIZE(page_list_layouts); l++) {
		const struct page_list_layout *layout = &page_list_layouts[l];
		const u8 *at = memmem(code, PAGE_LIST_REACH, layout->code,
				      layout->len);
		int32_t offset;
		u64 found;

		if (!at)
			continue;
		at += layout->len;
		memcpy(&offset, at, sizeof(offset));
		found = layout->next ? entry + (at + sizeof(offset) - code) :
				       entry & ~(PAGE - 1);
		found += offset;
		if ((found & ~(PAGE - 1)) == (entry & ~(PAGE - 1)))
			return found;
	}
	return 0;
}

int backup_map_read(u64 entry)
{
	u64 at = pages_map_at(entry), word, list = 0, dest = 0;
	u32 found = 0;

	if (!at)
		return fail("no-backup-map", "the code at entry %#llx is not known",
			    (unsigned long long)entry);
	if (phys_read(at, &word, sizeof(word)))
		return -1;
	/* A list of 16 MiB has 4096 sources, and few words between them. */
	for (u32 words = 0; words < 4 * ARRAY_SIZE(backup_frame); words++) {
		u64 page = word & ~(PAGE - 1);

		if (word & IND_DONE) {
			backup_known = found;
			return found ? 0 :
			       fail("no-backup-map", "the page list is empty");
		}
		if (word & IND_DESTINATION) {
			dest = page;
		} else if (word & IND_INDIRECTION) {
			list = page;
		} else if (word & IND_SOURCE) {
			/* Its own destination: kexec's page, nothing to back up. */
			bool own = page == dest;

			if (dest >= SPAWNED_END || (page < SPAWNED_END && !own))
				break;
			backup_frame[dest / PAGE] = own ? 0 : page / PAGE;
			dest += PAGE;
			found++;
		}
		if (!list || phys_read(list, &word, sizeof(word)))
			break;
		list += sizeof(word);
	}
	memset(backup_frame, 0, sizeof(backup_frame));
	return fail("no-backup-map", "no page list at entry %#llx",
		    (unsigned long long)entry);
}

u64 normal_phys(u64 phys)
{
	u32 frame;

	if (phys >= SPAWNED_END)
		return phys;
	frame = backup_known ? backup_frame[phys / PAGE] : 0;
	return frame ? frame * PAGE + phys % PAGE : 0;
}

/**
 * normal_read() - read memory as the normal kernel has it
 * @phys: the address, below 16 MiB too
 * @buf: where to
 * @len: how much
 */
int normal_read(u64 phys, void *buf, size_t len)
{
	for (u8 *to = buf; len;) {
		/* Below 16 MiB, neighbours are no neighbours any more. */
		size_t n = MIN(len, PAGE - phys % PAGE);
		u64 at = normal_phys(phys);

		if (!at)
			return fail("no-backup-map",
				    "it is not known where %#llx is",
				    (unsigned long long)phys);
		if (phys_read(at, to, n))
			return -1;
		to += n;
		phys += n;
		len -= n;
	}
	return 0;
}

static int compare_frames(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

/* The backup area, in at most MAX_RANGES pieces: small gaps are closed. */
void backup_ranges(struct ranges *ranges)
{
	u32 *sorted = malloc(sizeof(backup_frame));
	u64 gap = 1;

	ranges->nr = 0;
	if (!sorted)
		return;
	memcpy(sorted, backup_frame, sizeof(backup_frame));
	qsort(sorted, ARRAY_SIZE(backup_frame), sizeof(*sorted), compare_frames);
	for (bool again = true; again; gap *= 2) {
		struct range *last = NULL;

		again = false;
		ranges->nr = 0;
		for (u32 i = 0; i < ARRAY_SIZE(backup_frame) && !again; i++) {
			u64 start = sorted[i] * PAGE;

			if (!start)
				continue;
			if (last && start < last->end + gap * PAGE) {
				last->end = start + PAGE;
			} else if (ranges->nr == MAX_RANGES) {
				again = true;
			} else {
				last = &ranges->r[ranges->nr++];
				*last = (struct range){ start, start + PAGE };
			}
		}
	}
	free(sorted);
}
