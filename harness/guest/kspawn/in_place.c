// SPDX-License-Identifier: GPL-2.0-only
/*
 * Restoring in place: kexec_load(2) with KEXEC_IN_PLACE writes the memory of
 * the normal kernel, and nothing else does. docs/resume-in-place.md has the
 * flags, which are a patch of ours.
 *
 * An image has more pieces than a call takes, and more bytes than there is
 * memory. So pieces are gathered, each after its checksum was found right, and
 * written call by call; what the kernel copies is the very buffer that was
 * checked. Only the last call, once all of the image was found right, leaves
 * something that can be jumped into.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "failure.h"
#include "in_place.h"
#include "kexec.h"
#include "restore.h"
#include "types.h"

/* A good part of what is free in 0-16 MiB; a call costs a few page tables. */
#define STAGE	(1UL << 20)

struct place {
	u8 *stage;
	size_t used;
	u32 nr;
	struct kexec_segment segs[KEXEC_SEGMENT_MAX];
	u64 calls;
	u64 entry;
	bool entry_seen;
	u8 entry_page[PAGE] __attribute__((aligned(4096)));
};

static struct place place;

static int place_segments(struct place *p, u64 entry, unsigned long flags)
{
	p->calls++;
	if (do_kexec_load(entry, p->nr, p->segs, KEXEC_IN_PLACE | flags))
		return fail("no-load", "kexec_load in place, %u segments from %#llx: %s",
			    p->nr, (unsigned long long)p->segs[0].mem,
			    errno == EINVAL ? "has the kernel no KEXEC_IN_PLACE?" :
					      strerror(errno));
	p->nr = 0;
	p->used = 0;
	return 0;
}

static int place_flush(void *context)
{
	struct place *p = context;

	return p->nr ? place_segments(p, 0, KEXEC_MORE) : 0;
}

static int place_begin(void *context, u64 entry)
{
	struct place *p = context;

	p->entry = entry & ~(PAGE - 1);
	p->entry_seen = false;
	return 0;
}

/* A segment that goes on at @phys, or a new one. */
static struct kexec_segment *place_segment(struct place *p, u64 phys, bool stored)
{
	struct kexec_segment *seg = p->nr ? &p->segs[p->nr - 1] : NULL;

	if (seg && seg->mem + seg->memsz == phys &&
	    (!stored || seg->bufsz == seg->memsz))
		return seg;
	if (p->nr == ARRAY_SIZE(p->segs) && place_flush(p))
		return NULL;
	seg = &p->segs[p->nr++];
	*seg = (struct kexec_segment){ .buf = p->stage + p->used, .mem = phys };
	return seg;
}

static int place_put(void *context, u64 phys, const void *data, size_t len)
{
	struct place *p = context;
	const u8 *from = data;

	if (p->entry >= phys && p->entry < phys + len) {
		memcpy(p->entry_page, from + (p->entry - phys), PAGE);
		p->entry_seen = true;
	}
	while (len) {
		struct kexec_segment *seg;
		size_t n;

		if (p->used == STAGE && place_flush(p))
			return -1;
		seg = place_segment(p, phys, true);
		if (!seg)
			return -1;
		n = MIN(len, STAGE - p->used);
		memcpy(p->stage + p->used, from, n);
		p->used += n;
		seg->bufsz += n;
		seg->memsz += n;
		from += n;
		phys += n;
		len -= n;
	}
	return 0;
}

static int place_pattern(struct place *p, u64 phys, u64 len, u8 value)
{
	if (place_flush(p))
		return -1;
	memset(p->stage, value, STAGE);
	while (len) {
		size_t n = MIN(len, STAGE);

		p->segs[p->nr++] = (struct kexec_segment){
			.buf = p->stage, .bufsz = n, .mem = phys, .memsz = n,
		};
		if (p->nr == ARRAY_SIZE(p->segs) && place_flush(p))
			return -1;
		phys += n;
		len -= n;
	}
	return place_flush(p);
}

static int place_fill(void *context, u64 phys, u64 len, u8 value)
{
	struct place *p = context;
	struct kexec_segment *seg;

	if (value)
		return place_pattern(p, phys, len, value);
	/* The kernel clears what a segment has beyond its buffer. */
	seg = place_segment(p, phys, false);
	if (!seg)
		return -1;
	seg->memsz += len;
	return 0;
}

const struct memory_way *in_place_way(void)
{
	static const struct memory_way way = {
		.name = "kexec_load",
		.begin = place_begin,
		.put = place_put,
		.fill = place_fill,
		.flush = place_flush,
		.context = &place,
	};

	if (!place.stage) {
		place.stage = mmap(NULL, STAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (place.stage == MAP_FAILED) {
			place.stage = NULL;
			fail_errno("no-memory", "mmap");
			return NULL;
		}
	}
	return &way;
}

/*
 * The page of the entry once more, now as an image that is to be executed: the
 * identity mapping covers it, and the normal kernel does the rest by itself.
 */
int in_place_load(u64 entry)
{
	if (!place.entry_seen || (entry & ~(PAGE - 1)) != place.entry)
		return fail("damaged", "the page of the entry, %#llx, is not in the image",
			    (unsigned long long)entry);
	place.segs[0] = (struct kexec_segment){
		.buf = place.entry_page,
		.bufsz = PAGE,
		.mem = place.entry,
		.memsz = PAGE,
	};
	place.nr = 1;
	return place_segments(&place, entry, 0);
}

u64 in_place_calls(void)
{
	return place.calls;
}
