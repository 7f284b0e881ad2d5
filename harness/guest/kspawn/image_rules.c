// SPDX-License-Identifier: GPL-2.0-only
/* What must hold of an image, in the order of docs/image-format.md. */
#include <string.h>

#include "crc32.h"
#include "failure.h"
#include "image_rules.h"
#include "ranges.h"
#include "types.h"

#define PHYS_END	(1ULL << 52)	/* no x86-64 has an address above */

u32 places_begin(u64 entry)
{
	return crc32_update(0, &entry, sizeof(entry));
}

u32 places_add(u32 sum, u64 phys, u64 stored, u64 size)
{
	const u64 words[] = { phys, stored, size };

	return crc32_update(sum, words, sizeof(words));
}

int check_version(const void *desc, u32 size)
{
	u32 version;

	if (size < sizeof(version))
		return fail("damaged", "the note is too short");
	memcpy(&version, desc, sizeof(version));
	if (version != FORMAT_VERSION && version != FORMAT_ZEROS &&
	    version != FORMAT_CRC32)
		return fail("foreign", "format version %u, not %u", version,
			    FORMAT_VERSION);
	return size == sizeof(struct info) ? 0 :
	       fail("damaged", "the note is too short");
}

static int check_layout(const struct claim *c)
{
	const struct info *info = c->info;

	if (info->ram.nr > MAX_RANGES || info->firmware.nr > MAX_RANGES ||
	    info->backup.nr > MAX_RANGES ||
	    info->page_bytes != PAGE || info->chunk_bytes != CHUNK ||
	    info->data_offset != DATA_OFFSET || info->chunks != c->nr_sums)
		return fail("foreign", "the image has another layout");
	if (!memchr(info->release, 0, sizeof(info->release)) ||
	    !memchr(info->boot_id, 0, sizeof(info->boot_id)))
		return fail("damaged", "a text of the note has no end");
	return 0;
}

/* Whole pages above @floor that ascend. */
static bool ascend(const struct ranges *ranges, u64 floor)
{
	for (u32 i = 0; i < ranges->nr; i++) {
		const struct range *r = &ranges->r[i];

		if (r->start < floor || r->end <= r->start ||
		    r->end > PHYS_END || (r->start | r->end) % PAGE)
			return false;
		floor = r->end;
	}
	return true;
}

static bool are_ranges(const struct ranges *ranges)
{
	for (u32 i = 0; i < ranges->nr; i++)
		if (ranges->r[i].end <= ranges->r[i].start ||
		    ranges->r[i].end > PHYS_END)
			return false;
	return true;
}

/* Whole pages from 1 MiB on, neighbours joined. */
static void joined(const struct ranges *in, struct ranges *out)
{
	struct ranges above;

	ranges_above(in, 1UL << 20, &above);
	out->nr = 0;
	for (u32 i = 0; i < above.nr; i++) {
		if (out->nr && out->r[out->nr - 1].end == above.r[i].start)
			out->r[out->nr - 1].end = above.r[i].end;
		else
			out->r[out->nr++] = above.r[i];
	}
}

/*
 * An image of another machine must not be written over the memory of this. A
 * kernel that was booted by kexec is told of the same memory, but not in the
 * same pieces, and below 1 MiB not of all of it.
 */
static int check_machine(const struct claim *c)
{
	const struct info *info = c->info;
	struct ranges theirs, ours;

	if (!are_ranges(&info->firmware))
		return fail("damaged", "the firmware's map is out of order");
	joined(&info->firmware, &theirs);
	joined(c->machine, &ours);
	if (c->machine->nr && !ranges_equal(&theirs, &ours))
		return fail("foreign",
			    "the image is of a machine with %llu kB of RAM, this one has %llu kB",
			    (unsigned long long)ranges_bytes(&info->firmware) >> 10,
			    (unsigned long long)ranges_bytes(c->machine) >> 10);
	if (!info->ram.nr || !ascend(&info->ram, SPAWNED_END))
		return fail("damaged", "the ranges of RAM are out of order");
	for (u32 i = 0; theirs.nr && i < info->ram.nr; i++)
		if (!ranges_hold(&theirs, info->ram.r[i].start, info->ram.r[i].end))
			return fail("damaged", "RAM at %#llx, where the machine has none",
				    (unsigned long long)info->ram.r[i].start);
	return 0;
}

static int check_backup(const struct info *info)
{
	const struct ranges *backup = &info->backup;

	if (!ascend(backup, SPAWNED_END))
		return fail("damaged", "the backup area is out of order");
	/* Gaps between its pieces may be closed, so what is between may be none. */
	for (u32 i = 0; i < backup->nr; i++)
		if (!ranges_hold(&info->ram, backup->r[i].start,
				 backup->r[i].start + PAGE) ||
		    !ranges_hold(&info->ram, backup->r[i].end - PAGE,
				 backup->r[i].end))
			return fail("damaged", "the backup area at %#llx is not in RAM",
				    (unsigned long long)backup->r[i].start);
	return 0;
}

/* Whether a segment is filled with a byte where it may be. */
static bool fill_fits(const struct info *info, const Elf64_Phdr *load)
{
	u32 fill = load->p_flags & FILL_MASK;

	return load->p_flags - fill == (PF_R | PF_W | PF_X) &&
	       (!fill || (info->version == FORMAT_VERSION &&
			  load->p_memsz > load->p_filesz));
}

static int check_segments(const struct claim *c)
{
	const struct info *info = c->info;
	u64 stored = 0, size = 0, last = 0;

	for (u32 i = 0; i < c->segments; i++) {
		const Elf64_Phdr *load = &c->loads[i];
		u64 end = load->p_paddr + load->p_memsz;

		if (load->p_type != PT_LOAD ||
		    load->p_filesz > load->p_memsz || !load->p_memsz ||
		    !fill_fits(info, load) ||
		    load->p_offset != DATA_OFFSET + stored ||
		    (load->p_paddr | load->p_memsz | load->p_filesz) % PAGE ||
		    end < load->p_paddr || load->p_paddr < last ||
		    !ranges_hold(&info->ram, load->p_paddr, end))
			return fail("damaged", "segment %u is out of place", i + 1);
		stored += load->p_filesz;
		size += load->p_memsz;
		last = end;
	}
	if (stored != info->stored_bytes ||
	    (stored + CHUNK - 1) / CHUNK != c->nr_sums)
		return fail("damaged", "the segments are not all there");
	if (size - stored != info->zero_bytes)
		return fail("damaged", "segments with %llu bytes that are not stored, and not %llu",
			    (unsigned long long)(size - stored),
			    (unsigned long long)info->zero_bytes);
	if (size > ranges_bytes(&info->ram) ||
	    ranges_bytes(&info->ram) - size != info->free_bytes)
		return fail("damaged", "segments and free pages do not make the RAM");
	return 0;
}

/* The segment with @phys; NULL if it is in none. */
static const Elf64_Phdr *segment_of(const struct claim *c, u64 phys)
{
	u32 low = 0, high = c->segments;

	while (low < high) {
		u32 i = low + (high - low) / 2;
		const Elf64_Phdr *load = &c->loads[i];

		if (phys < load->p_paddr)
			high = i;
		else if (phys - load->p_paddr >= load->p_memsz)
			low = i + 1;
		else
			return load;
	}
	return NULL;
}

/* What is jumped to, and where the normal kernel is told what became of it. */
static int check_addresses(const struct claim *c)
{
	const struct info *info = c->info;
	const Elf64_Phdr *entry = segment_of(c, info->entry);
	const Elf64_Phdr *handoff = segment_of(c, info->handoff);
	u32 places = places_begin(info->entry);

	if (!entry || info->entry - entry->p_paddr >= entry->p_filesz)
		return fail("damaged", "the page of the entry, %#llx, is not in the image",
			    (unsigned long long)info->entry);
	if (info->handoff % PAGE || !handoff ||
	    info->handoff - handoff->p_paddr >= handoff->p_filesz)
		return fail("damaged", "the handoff, %#llx, is not in the image",
			    (unsigned long long)info->handoff);
	if (info->memfree_pages > (ranges_bytes(&info->ram) + SPAWNED_END) / PAGE)
		return fail("damaged", "%llu free pages are more than the RAM has",
			    (unsigned long long)info->memfree_pages);
	for (u32 i = 0; i < c->segments; i++)
		places = places_add(places, c->loads[i].p_paddr,
				    c->loads[i].p_filesz, c->loads[i].p_memsz);
	if (places != info->places || info->reserved)
		return fail("damaged", "the segments or the entry were moved");
	return 0;
}

int check_claim(const struct claim *c)
{
	if (check_layout(c) || check_machine(c) || check_backup(c->info) ||
	    check_segments(c) || check_addresses(c))
		return -1;
	if (c->disk_bytes < DATA_OFFSET + c->info->stored_bytes)
		return fail("truncated", "the disk ends at %llu bytes",
			    (unsigned long long)c->disk_bytes);
	return 0;
}
