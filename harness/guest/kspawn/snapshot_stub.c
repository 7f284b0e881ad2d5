// SPDX-License-Identifier: GPL-2.0-only
/*
 * What restore_image() jumps to, in memory of its own: code, page tables, and
 * the list of memory that has to be filled with a byte.
 */
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "image.h"
#include "image_stats.h"
#include "memory_map.h"
#include "ranges.h"
#include "snapshot_resume.h"
#include "snapshot_stub.h"
#include "types.h"

#define ENTRIES		512UL		/* of a page table */
#define MAX_GIB		512UL		/* what one PDPT maps */
#define LINE		64UL		/* unit of the list of filled memory */

#define PTE_TABLE	0x3UL		/* present, writable */
#define PTE_LARGE	0x83UL		/* and a 2 MiB page */

/*
 * The entry: where restore_image() goes when all pages are in their places.
 * It is at an address of the kernel's half, mapped alike in the page tables that
 * it comes with and in its own, which are in %r9: arch_hibernation_header_restore()
 * takes that for the CR3 of the image kernel. An address of the other half would
 * do as well, if set_pgd() did not write the entries of that half to the page
 * behind the table too, with page-table isolation (pti_set_user_pgtbl()): the
 * table that is made for the restore is one page. Then it goes on at its own
 * physical address, which is mapped onto itself. From here on nothing of the kernel
 * that loaded the image is needed any more, so that memory that is not
 * stored can be filled even where that kernel was. The list has the byte in the low
 * bits of an address, which is one of a page. Then to the jump back entry, as
 * from kexec: with a zero on the stack, which says that there is no way back.
 * By ret, which needs no endbr64 where it goes to.
 */
__asm__(
"	.pushsection .rodata\n"
"	.balign	16\n"
"stub_begin:\n"
"	.byte	0xf3, 0x0f, 0x1e, 0xfa\n"	/* endbr64 */
"	mov	%r9, %cr3\n"
"	mov	%cr4, %rax\n"		/* CR4.PGE off and on: global pages go */
"	mov	%rax, %rcx\n"
"	and	$~0x80, %rcx\n"
"	mov	%rcx, %cr4\n"
"	mov	%rax, %cr4\n"
"	lea	4f(%rip), %rax\n"
"	sub	$-0x80000000, %rax\n"	/* STUB_HIGH */
"	jmp	*%rax\n"
"4:	mov	stub_list(%rip), %rsi\n"
"	mov	$0x0101010101010101, %rdx\n"
"1:	mov	(%rsi), %rdi\n"
"	movzbl	%dil, %eax\n"
"	imul	%rdx, %rax\n"
"	xor	%dil, %dil\n"
"	mov	8(%rsi), %rcx\n"
"	add	$16, %rsi\n"
"	test	%rcx, %rcx\n"
"	jz	3f\n"
"2:	mov	%rax, (%rdi)\n"		/* no rep stosq: see fill() */
"	mov	%rax, 8(%rdi)\n"
"	mov	%rax, 16(%rdi)\n"
"	mov	%rax, 24(%rdi)\n"
"	mov	%rax, 32(%rdi)\n"
"	mov	%rax, 40(%rdi)\n"
"	mov	%rax, 48(%rdi)\n"
"	mov	%rax, 56(%rdi)\n"
"	add	$64, %rdi\n"
"	dec	%rcx\n"
"	jnz	2b\n"
"	jmp	1b\n"
"3:	lea	stub_entry(%rip), %rsp\n"
"	ret\n"
"	.balign	8\n"
"stub_list:\n"
"	.quad	0\n"
"stub_entry:\n"
"	.quad	0\n"
"	.quad	0\n"
"stub_end:\n"
"	.popsection\n");

extern const u8 stub_begin[], stub_list[], stub_entry[], stub_end[];

/* The first GiB once more, from STUB_HIGH on; the tables come after all others. */
static void high_map(u64 *top, u64 pdpt, u64 gibs, bool five)
{
	u64 phys = pdpt + (gibs + 1) * PAGE;
	u64 *table = top;

	for (int level = five ? 5 : 4; level > 3; level--) {
		table[ENTRIES - 1] = phys | PTE_TABLE;
		table = top + (phys - STUB_BASE - PAGE) / sizeof(*top);
		phys += PAGE;
	}
	/* STUB_HIGH is in the last but one. */
	table[ENTRIES - 2] = (pdpt + PAGE) | PTE_TABLE;
}

static void identity_map(u64 *top, u64 gibs, bool five)
{
	u64 phys = STUB_BASE + PAGE, *table = top;

	/* Each level above the PDPT has one entry: the next page. */
	for (int level = five ? 5 : 4; level > 3; level--) {
		phys += PAGE;
		table[0] = phys | PTE_TABLE;
		table += ENTRIES;
	}
	for (u64 i = 0; i < gibs; i++)
		table[i] = (phys + (i + 1) * PAGE) | PTE_TABLE;
	table += ENTRIES;
	for (u64 i = 0; i < gibs * ENTRIES; i++)
		table[i] = i << 21 | PTE_LARGE;
	high_map(top, phys, gibs, five);
}

int make_stub(struct resume *r)
{
	const struct image_stats *stats = &r->facts.stats;
	u64 runs = 0, top = 0, gibs, tables, bytes, *list;
	struct image_segment seg;
	struct ranges ram;
	bool fits = false;

	for (u32 i = 0; i < stats->segments; i++) {
		image_segment(r->image, i, &seg);
		runs += seg.size > seg.stored;
		top = seg.phys + seg.size;
	}
	if (r->facts.entry >= top)
		top = r->facts.entry + PAGE;
	gibs = (top + (1UL << 30) - 1) >> 30;
	if (gibs > MAX_GIB)
		return fail("foreign", "RAM ends above %lu GiB", MAX_GIB);
	tables = (r->five_levels ? 3 : 2) + gibs + (r->five_levels ? 2 : 1);
	bytes = (1 + tables) * PAGE + (runs + 1) * 2 * sizeof(*list);
	r->stub_pages = (bytes + PAGE - 1) / PAGE;
	bytes = r->stub_pages * PAGE;
	if (read_iomem("System RAM", &ram))
		return -1;
	for (u32 i = 0; i < ram.nr; i++)
		fits |= ram.r[i].start <= STUB_BASE &&
			STUB_BASE + bytes <= MIN(ram.r[i].end, SPAWNED_END);
	if (!fits)
		return fail("no-memory", "no %llu kB of RAM at 1 MiB for the entry",
			    (unsigned long long)bytes >> 10);
	r->stub = calloc(r->stub_pages, PAGE);
	if (!r->stub)
		return fail("no-memory", "no memory for the entry");

	memcpy(r->stub, stub_begin, stub_end - stub_begin);
	list = (u64 *)(r->stub + (stub_list - stub_begin));
	*list = STUB_BASE + (1 + tables) * PAGE;
	list = (u64 *)(r->stub + (stub_entry - stub_begin));
	*list = r->facts.entry;
	r->cr3 = STUB_BASE + PAGE;
	identity_map((u64 *)(r->stub + PAGE), gibs, r->five_levels);
	list = (u64 *)(r->stub + (1 + tables) * PAGE);
	for (u32 i = 0; i < stats->segments; i++) {
		image_segment(r->image, i, &seg);
		if (seg.size == seg.stored)
			continue;
		*list++ = (seg.phys + seg.stored) | seg.value;
		*list++ = (seg.size - seg.stored) / LINE;
	}
	return 0;
}
