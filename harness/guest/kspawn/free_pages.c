// SPDX-License-Identifier: GPL-2.0-only
/*
 * The free pages of the normal kernel, found by its struct pages.
 *
 * All that is known about that kernel comes from its VMCOREINFO; addresses of
 * its own are translated by its own page tables. What is not understood is
 * not free: a page too many in the image costs room, a page too few the
 * normal kernel.
 */
#include <stdlib.h>
#include <string.h>

#include "backup.h"
#include "failure.h"
#include "free_pages.h"
#include "handoff.h"
#include "ranges.h"
#include "types.h"
#include "vmcoreinfo.h"

/* From arch/x86/include/asm: page_64_types.h, pgtable_types.h. */
#define KERNEL_MAP	0xffffffff80000000ULL
#define ENTRY_PRESENT	0x1
#define ENTRY_LARGE	0x80
#define ENTRY_PHYS	0x000ffffffffff000ULL
/* From include/linux/mmzone.h, the flags in section_mem_map. */
#define SECTION_THERE	0x3	/* marked present, has a memory map */
#define SECTION_FLAGS	(PAGE - 1)
#define MAX_ORDER	10

struct table {
	u64 phys;
	bool valid;
	u64 entries[512];
};

/* The normal kernel, as far as it has to be known. */
struct normal {
	const struct ranges *ram;
	char *info;		/* the text of VMCOREINFO */

	struct table *tables;	/* the last one read, by level */
	u64 top;		/* physical address of the first table */
	u32 levels;
	u64 leaf;		/* the last translation: virtual, length, */
	u64 leaf_len;
	u64 leaf_phys;		/* and physical */

	u64 roots;		/* virtual address of the sections' roots */
	u64 nr_roots;
	u64 section_size;
	u64 section_map;
	u64 section_bits;

	u64 page_size;		/* of struct page, and what is where in it */
	u64 refcount;
	u64 mapcount;
	u64 private;
	u32 buddy;		/* _mapcount of the first page of a free block */
};

/* ---- VMCOREINFO ------------------------------------------------------- */

static bool find(const struct normal *n, const char *key, int base, u64 *value)
{
	size_t len = strlen(key);

	for (const char *line = n->info; line; line = strchr(line, '\n')) {
		char *end;

		line += *line == '\n';
		if (strncmp(line, key, len) || line[len] != '=')
			continue;
		/* Signed: phys_base, and the value that marks a free block. */
		*value = base == 16 ? strtoull(line + len + 1, &end, base) :
				      (u64)strtoll(line + len + 1, &end, base);
		return end != line + len + 1 && (*end == '\n' || !*end);
	}
	return false;
}

static int need(const struct normal *n, const char *key, int base, u64 *value)
{
	return find(n, key, base, value) ? 0 :
	       fail("no-filter", "VMCOREINFO has no %s", key);
}

/* A size or an offset: what cannot be one would send us anywhere. */
static int need_small(const struct normal *n, const char *key, u64 max,
		      u64 *value)
{
	if (need(n, key, 10, value))
		return -1;
	return *value <= max ? 0 :
	       fail("no-filter", "%s of VMCOREINFO is %llu", key,
		    (unsigned long long)*value);
}

static int learn_tables(struct normal *n)
{
	u64 top, base, levels = 0, mask = 0;

	if (need(n, "SYMBOL(swapper_pg_dir)", 16, &top) ||
	    need(n, "NUMBER(phys_base)", 10, &base))
		return -1;
	if (find(n, "NUMBER(sme_mask)", 10, &mask) && mask)
		return fail("no-filter", "the memory is encrypted");
	if (top < KERNEL_MAP)
		return fail("no-filter", "swapper_pg_dir is at %#llx",
			    (unsigned long long)top);
	/* Not there on kernels that know 4 levels only. */
	find(n, "NUMBER(pgtable_l5_enabled)", 10, &levels);
	n->levels = levels ? 5 : 4;
	n->top = top - KERNEL_MAP + base;
	return 0;
}

static int learn(struct normal *n)
{
	u64 buddy, orders;

	if (learn_tables(n) ||
	    need(n, "SYMBOL(mem_section)", 16, &n->roots) ||
	    need_small(n, "LENGTH(mem_section)", 1 << 24, &n->nr_roots) ||
	    need_small(n, "SIZE(mem_section)", PAGE, &n->section_size) ||
	    need_small(n, "OFFSET(mem_section.section_mem_map)", PAGE,
		       &n->section_map) ||
	    need_small(n, "NUMBER(SECTION_SIZE_BITS)", 40, &n->section_bits) ||
	    need_small(n, "SIZE(page)", 1024, &n->page_size) ||
	    need_small(n, "OFFSET(page._refcount)", n->page_size - 4,
		       &n->refcount) ||
	    need_small(n, "OFFSET(page._mapcount)", n->page_size - 4,
		       &n->mapcount) ||
	    need_small(n, "OFFSET(page.private)", n->page_size - 8,
		       &n->private) ||
	    need_small(n, "LENGTH(zone.free_area)", MAX_ORDER + 1, &orders) ||
	    need(n, "NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", 10, &buddy))
		return -1;
	/*
	 * ~PG_buddy until 6.11, PGTY_buddy << 24 since; either is the whole
	 * word of a free block, and what is exported fits the kernel itself.
	 */
	n->buddy = buddy;
	if (!n->section_size || n->page_size < 32 || n->section_bits < 12 ||
	    n->buddy < 0x80000000)
		return fail("no-filter", "VMCOREINFO makes no sense");
	return 0;
}

/* ---- the memory of the normal kernel ---------------------------------- */

static bool in_ram(const struct normal *n, u64 phys, u64 len)
{
	for (u32 i = 0; i < n->ram->nr; i++)
		if (phys >= n->ram->r[i].start && phys + len <= n->ram->r[i].end)
			return true;
	return false;
}

static int ram_read(const struct normal *n, u64 phys, void *buf, size_t len)
{
	if (!in_ram(n, phys, len))
		return fail("no-filter", "%#llx is not in RAM",
			    (unsigned long long)phys);
	return normal_read(phys, buf, len);
}

static int walk(struct normal *n, u64 virt)
{
	u64 at = n->top;

	for (u32 level = n->levels; level-- > 0;) {
		struct table *table = &n->tables[level];
		u32 shift = 12 + 9 * level;
		u64 entry;

		if (!table->valid || table->phys != at) {
			table->valid = false;
			if (ram_read(n, at, table->entries, PAGE))
				return -1;
			table->phys = at;
			table->valid = true;
		}
		entry = table->entries[virt >> shift & 511];
		if (!(entry & ENTRY_PRESENT))
			break;
		at = entry & ENTRY_PHYS;
		if (level && !(level <= 2 && entry & ENTRY_LARGE))
			continue;
		n->leaf_len = 1ULL << shift;
		n->leaf = virt & ~(n->leaf_len - 1);
		n->leaf_phys = at & ~(n->leaf_len - 1);
		return 0;
	}
	return fail("no-filter", "%#llx is not mapped", (unsigned long long)virt);
}

static int virt_read(struct normal *n, u64 virt, void *buf, size_t len)
{
	for (u8 *to = buf; len;) {
		size_t part = MIN(len, PAGE - virt % PAGE);

		if (virt - n->leaf >= n->leaf_len && walk(n, virt))
			return -1;
		if (ram_read(n, n->leaf_phys + (virt - n->leaf), to, part))
			return -1;
		to += part;
		virt += part;
		len -= part;
	}
	return 0;
}

/*
 * Where the struct page of frame 0 would be if its memory map were that of
 * @section; 0 if the section has none.
 */
static int section_base(struct normal *n, u64 section, u64 *base)
{
	u64 per_root = PAGE / n->section_size;
	u64 root, word;

	*base = 0;
	if (section / per_root >= n->nr_roots)
		return 0;
	if (virt_read(n, n->roots + section / per_root * sizeof(root), &root,
		      sizeof(root)))
		return -1;
	if (!root)
		return 0;
	if (virt_read(n, root + section % per_root * n->section_size +
		      n->section_map, &word, sizeof(word)))
		return -1;
	if ((word & SECTION_THERE) == SECTION_THERE)
		*base = word & ~SECTION_FLAGS;
	return 0;
}

/* ---- free blocks ------------------------------------------------------ */

struct finder {
	struct normal normal;
	u8 *map;
	u64 frames;
	struct free_stats *stats;
};

static void mark(struct finder *f, u64 frame, u64 nr)
{
	u64 below = SPAWNED_END / PAGE;

	f->stats->free_pages += nr;
	if (frame < below)
		f->stats->below_pages += MIN(nr, below - frame);
	for (; nr && frame % 8; nr--, frame++)
		f->map[frame / 8] |= 1 << frame % 8;
	memset(f->map + frame / 8, 0xff, nr / 8);
	frame += nr / 8 * 8;
	for (nr %= 8; nr; nr--, frame++)
		f->map[frame / 8] |= 1 << frame % 8;
}

/* The number of frames, from @frame, that one look has decided about. */
static u64 look(struct finder *f, u64 base, u64 frame, u64 end)
{
	struct normal *n = &f->normal;
	u64 virt = base + frame * n->page_size;
	u8 page[1024];
	u32 mapcount, refcount;
	u64 order;

	if (virt_read(n, virt, page, n->page_size)) {
		/* The rest of this page of the memory map is no better. */
		u64 rest = (PAGE - virt % PAGE) / n->page_size;

		rest = MIN(rest ? rest : 1, end - frame);
		f->stats->unknown_pages += rest;
		return rest;
	}
	memcpy(&mapcount, page + n->mapcount, sizeof(mapcount));
	if (mapcount != n->buddy)
		return 1;
	memcpy(&refcount, page + n->refcount, sizeof(refcount));
	memcpy(&order, page + n->private, sizeof(order));
	if (refcount || order > MAX_ORDER || frame & ((1ULL << order) - 1) ||
	    frame + (1ULL << order) > end) {
		f->stats->unknown_pages++;
		return 1;
	}
	mark(f, frame, 1ULL << order);
	return 1ULL << order;
}

static int find_in(struct finder *f, const struct range *range)
{
	u64 frame = (range->start + PAGE - 1) / PAGE, end = range->end / PAGE;
	u32 shift = f->normal.section_bits - 12;

	while (frame < end) {
		u64 stop = MIN(end, ((frame >> shift) + 1) << shift);
		u64 base;

		if (section_base(&f->normal, frame >> shift, &base))
			return -1;
		if (!base) {
			f->stats->unknown_pages += stop - frame;
			frame = stop;
		}
		/* A block may reach into the next section. */
		while (frame < stop)
			frame += look(f, base, frame, end);
	}
	return 0;
}

/* ---- the kernel's own count ------------------------------------------- */

static int count_zone(struct normal *n, u64 zone, u64 area, u64 orders,
		      u64 *pages)
{
	for (u64 order = 0; order < orders; order++) {
		/* nr_free is the last word of struct free_area. */
		u64 at = zone + (order + 1) * area - sizeof(u64), blocks;

		if (virt_read(n, at, &blocks, sizeof(blocks)))
			return -1;
		*pages += blocks << order;
	}
	return 0;
}

static int count_node(struct normal *n, u64 node, u64 *pages)
{
	u64 count_at, zones_at, zone_size, areas_at, area, orders;
	u32 zones;

	if (need_small(n, "OFFSET(pglist_data.nr_zones)", 1 << 24, &count_at) ||
	    need_small(n, "OFFSET(pglist_data.node_zones)", 1 << 24, &zones_at) ||
	    need_small(n, "SIZE(zone)", 1 << 24, &zone_size) ||
	    need_small(n, "OFFSET(zone.free_area)", 1 << 24, &areas_at) ||
	    need_small(n, "SIZE(free_area)", PAGE, &area) ||
	    need_small(n, "LENGTH(zone.free_area)", MAX_ORDER + 1, &orders) ||
	    virt_read(n, node + count_at, &zones, sizeof(zones)))
		return -1;
	if (zones > 8)
		return fail("no-filter", "a node of %u zones", zones);
	for (u32 i = 0; i < zones; i++)
		if (count_zone(n, node + zones_at + i * zone_size + areas_at,
			       area, orders, pages))
			return -1;
	return 0;
}

/* What the heads of the free lists say, with CONFIG_NUMA and without. */
static int count_lists(struct normal *n, u64 *pages)
{
	u64 nodes, nr, node;

	*pages = 0;
	if (find(n, "SYMBOL(contig_page_data)", 16, &node))
		return count_node(n, node, pages);
	if (need(n, "SYMBOL(node_data)", 16, &nodes) ||
	    need_small(n, "LENGTH(node_data)", 4096, &nr))
		return -1;
	for (u64 i = 0; i < nr; i++) {
		if (virt_read(n, nodes + i * sizeof(node), &node, sizeof(node)))
			return -1;
		if (node && count_node(n, node, pages))
			return -1;
	}
	return 0;
}

static int find_all(struct finder *f)
{
	struct free_stats *stats = f->stats;

	if (learn(&f->normal))
		return -1;
	for (u32 i = 0; i < f->normal.ram->nr; i++)
		if (find_in(f, &f->normal.ram->r[i]))
			return -1;
	if (count_lists(&f->normal, &stats->listed_pages))
		return -1;
	/*
	 * One CPU, interrupts off: the lists and the struct pages agree when
	 * the kernel jumps. Fewer is what was not understood; more is a page
	 * that looks free and is not.
	 */
	if (stats->free_pages > stats->listed_pages)
		return fail("no-filter", "%llu pages look free, %llu are listed",
			    (unsigned long long)stats->free_pages,
			    (unsigned long long)stats->listed_pages);
	return 0;
}

/**
 * free_pages_find() - find the free pages of the normal kernel
 * @ho: the handoff; the page list of the jump has been read, or is not known
 * @frames: how many frames the map has
 * @stats: what was found
 *
 * Return: a map of one bit a frame, to be freed; NULL if the normal kernel
 * was not understood: then all its pages have to be kept.
 */
u8 *free_pages_find(const struct handoff *ho, u64 *frames,
		    struct free_stats *stats)
{
	struct finder f = {
		.normal = { .ram = &ho->ram },
		.stats = stats,
	};
	size_t len;
	int err = -1;

	memset(stats, 0, sizeof(*stats));
	for (u32 i = 0; i < ho->ram.nr; i++)
		if (f.frames < ho->ram.r[i].end / PAGE)
			f.frames = ho->ram.r[i].end / PAGE;
	f.map = calloc(1, f.frames / 8 + 1);
	f.normal.info = malloc(MAX_VMCOREINFO + 1);
	f.normal.tables = calloc(5, sizeof(*f.normal.tables));
	if (!f.map || !f.normal.info || !f.normal.tables) {
		fail("no-filter", "no memory for a map of %llu frames",
		     (unsigned long long)f.frames);
		goto out;
	}
	len = read_vmcoreinfo(ho, f.normal.info);
	f.normal.info[len] = 0;
	err = len ? find_all(&f) : fail("no-filter", "there is no VMCOREINFO");
out:
	free(f.normal.info);
	free(f.normal.tables);
	if (err) {
		free(f.map);
		return NULL;
	}
	*frames = f.frames;
	return f.map;
}
