/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hibernation image: an ELF64 core on a raw disk. docs/image-format.md
 * describes it; harness/image/image.py reads it on the host.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include "ranges.h"

#define DATA_OFFSET	(2UL << 20)	/* the header area lies before it */
#define CHUNK		(256UL << 10)	/* unit of I/O and of the checksums */
#define MAX_SEGMENTS	32768

#define FORMAT_VERSION	4
#define FORMAT_ZEROS	3	/* as 4, but what is not stored is zero */
#define FORMAT_CRC32	2	/* as 3, but the sums of chunks are CRC-32s */

/* PF_MASKOS of p_flags: the byte that fills a segment after what is stored. */
#define FILL_SHIFT	20
#define FILL_MASK	(0xffU << FILL_SHIFT)

#define NOTE_NAME	"KSPAWN"
/* Not 1 to 3: readelf takes those for NT_PRSTATUS and its like, whoever's. */
#define NT_KSPAWN_INFO	0x4b530001
#define NT_KSPAWN_SUMS	0x4b530002
#define NT_KSPAWN_SEAL	0x4b530003

/* The description of NT_KSPAWN_INFO. */
struct info {
	u32 version;
	u32 page_bytes;
	u64 entry;
	u64 data_offset;
	u64 stored_bytes;
	u64 zero_bytes;
	u64 free_bytes;
	u32 chunk_bytes;
	u32 chunks;
	u64 handoff;
	u64 memfree_pages;
	u32 places;	/* CRC-32 of the entry and of where each segment goes */
	u32 reserved;	/* zero */
	char release[64];
	char boot_id[40];
	struct ranges ram;
	struct ranges firmware;
	struct ranges backup;
};

_Static_assert(sizeof(struct info) == 1744, "as docs/image-format.md has it");

/* Names and descriptions of notes are padded to four bytes. */
static inline size_t pad4(size_t len)
{
	return (len + 3) & ~3UL;
}

#endif
