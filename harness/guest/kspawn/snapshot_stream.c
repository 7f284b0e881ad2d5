// SPDX-License-Identifier: GPL-2.0-only
/* The stream that /dev/snapshot takes: a header, the list of pages, the pages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "failure.h"
#include "files.h"
#include "image.h"
#include "snapshot_device.h"
#include "snapshot_resume.h"
#include "snapshot_stream.h"
#include "types.h"

#define ENTRIES		512UL		/* PFNs a page */

/* The first page of the stream, as kernel/power/snapshot.c reads it. */
struct stream_header {
	/* arch/x86/power/hibernate.c, in the place of the kernel's version */
	u64 jump_address;
	u64 jump_address_phys;
	u64 cr3;
	u64 magic;
	u64 e820_checksum;
	u8 unused[360];
	/* struct swsusp_info from num_physpages on */
	u64 num_physpages;
	u64 cpus;
	u64 image_pages;
	u64 pages;
	u64 size;
	u8 rest[PAGE - 440];
};

_Static_assert(sizeof(struct stream_header) == PAGE, "one page");
_Static_assert(offsetof(struct stream_header, num_physpages) == 400, "layout");
_Static_assert(offsetof(struct stream_header, size) == 432, "layout");

#define STREAM_MAGIC	0x23456789abcdef02UL

static u32 e820_type(const char *name)
{
	static const struct {
		const char *name;
		u32 type;
	} types[] = {
		{ "System RAM", 1 },
		{ "Reserved", 2 },
		{ "ACPI Tables", 3 },
		{ "ACPI Non-volatile Storage", 4 },
		{ "Unusable memory", 5 },
		{ "Persistent Memory", 7 },
		{ "Persistent Memory (legacy)", 12 },
		{ "Soft Reserved", 0xefffffff },
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(name, types[i].name))
			return types[i].type;
	return 0;
}

static int firmware_text(u32 index, const char *key, char *text, size_t size)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/firmware/memmap/%u/%s", index, key);
	if (read_text(path, text, size))
		return -1;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

/* As compute_e820_crc32(): of the count and the packed entries. */
static int e820_checksum(u64 *sum)
{
	struct __attribute__((packed)) {
		u64 start;
		u64 size;
		u32 type;
	} entry;
	char text[64];
	u32 count = 0, crc;

	while (!firmware_text(count, "type", text, sizeof(text)))
		count++;
	if (!count)
		return fail("no-firmware-map", "/sys/firmware/memmap is not there");
	crc = crc32_update(0, &count, sizeof(count));
	for (u32 i = 0; i < count; i++) {
		if (firmware_text(i, "type", text, sizeof(text)))
			return -1;
		entry.type = e820_type(text);
		if (!entry.type)
			return fail("no-firmware-map", "memory of the type %s", text);
		if (firmware_text(i, "start", text, sizeof(text)))
			return -1;
		entry.start = strtoull(text, NULL, 16);
		if (firmware_text(i, "end", text, sizeof(text)))
			return -1;
		entry.size = strtoull(text, NULL, 16) + 1 - entry.start;
		crc = crc32_update(crc, &entry, sizeof(entry));
	}
	*sum = crc;
	return 0;
}

/* get_num_physpages(): the sum of what is present in the zones. */
static int physpages(u64 *pages)
{
	unsigned long long n;
	char line[256];
	FILE *f = fopen("/proc/zoneinfo", "re");

	*pages = 0;
	if (!f)
		return fail_errno("no-file", "/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " present %llu", &n) == 1)
			*pages += n;
	return fclose(f) ? fail_errno("no-file", "/proc/zoneinfo") : 0;
}

static int put_header(struct resume *r)
{
	static struct stream_header h;

	h = (struct stream_header){
		.jump_address = STUB_HIGH + STUB_BASE,
		.jump_address_phys = STUB_BASE,
		.cr3 = r->cr3,
		.magic = STREAM_MAGIC,
		.image_pages = r->pages,
		.pages = r->pages + (r->pages + ENTRIES - 1) / ENTRIES + 1,
	};
	h.size = h.pages * PAGE;
	if (e820_checksum(&h.e820_checksum) || physpages(&h.num_physpages))
		return -1;
	return snapshot_put(r->fd, &h);
}

struct frames {
	u64 frame[ENTRIES];
	u64 nr;
};

static int put_frame(struct resume *r, struct frames *f, u64 frame)
{
	f->frame[f->nr++] = frame;
	if (f->nr < ENTRIES)
		return 0;
	f->nr = 0;
	return snapshot_put(r->fd, f->frame);
}

static int put_frames(struct resume *r)
{
	static struct frames f;
	struct image_segment seg;

	for (u64 i = 0; i < r->stub_pages; i++)
		if (put_frame(r, &f, STUB_BASE / PAGE + i))
			return -1;
	for (u32 i = 0; i < r->facts.stats.segments; i++) {
		image_segment(r->image, i, &seg);
		for (u64 at = 0; at < seg.stored; at += PAGE)
			if (put_frame(r, &f, (seg.phys + at) / PAGE))
				return -1;
	}
	if (!f.nr)
		return 0;
	f.frame[f.nr] = ~0UL;	/* the end of the list */
	return snapshot_put(r->fd, f.frame);
}

static int put_data(void *context, u64 phys, const void *data, size_t len)
{
	const struct resume *r = context;
	const u8 *page = data;

	(void)phys;
	for (; len; len -= PAGE, page += PAGE)
		if (snapshot_put(r->fd, page))
			return -1;
	return 0;
}

int put_stream(struct resume *r)
{
	return put_header(r) || put_frames(r) ||
	       put_data(r, STUB_BASE, r->stub, r->stub_pages * PAGE) ||
	       image_stored(r->image, put_data, r) ? -1 : 0;
}
