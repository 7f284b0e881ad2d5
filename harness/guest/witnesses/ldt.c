// SPDX-License-Identifier: GPL-2.0-only
/* A data segment in the local descriptor table, and what is read by it. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define ENTRY		3
#define SELECTOR	(ENTRY << 3 | 7)

static uint32_t word;

/* modify_ldt(2); bits as of struct user_desc. */
struct descriptor {
	unsigned int entry, base, limit, flags;
};

static int set_entry(unsigned int base, unsigned int limit, unsigned int flags)
{
	struct descriptor d = { ENTRY, base, limit, flags };

	return syscall(SYS_modify_ldt, 0x11, &d, sizeof(d));
}

static uint32_t by_segment(void)
{
	uint32_t got = 0;

	/* FS is the C library's; GS is nobody's here. */
	asm volatile("movw %1, %%gs\n\tmovl %%gs:0, %0\n\tmovw %2, %%gs"
		     : "=&r" (got) : "r" ((uint16_t)SELECTOR),
		       "r" ((uint16_t)0));
	return got;
}

static void ldt_prepare(struct helper_page *page)
{
	uint32_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (low == MAP_FAILED)
		die_errno("mmap");
	word = value_of(salt("ldt", 0));
	*low = word;
	/* A byte-granular data segment of 32 bits: 4 bytes. */
	if (set_entry((uintptr_t)low, 3, 1))
		not_here("modify_ldt: %s", strerror(errno));
	page->value[0] = (uintptr_t)low;
}

static bool ldt_serve(struct helper_page *page, int what, char *detail)
{
	uint64_t table[ENTRY + 1] = { 0 };
	int n;

	(void)page;
	if (what == HELPER_DAMAGE) {
		/* Base 0, limit 0, not present, read-only: cleared. */
		if (set_entry(0, 0, 0x28))
			return fail_errno(detail, "modify_ldt");
		return true;
	}
	n = syscall(SYS_modify_ldt, 0, table, sizeof(table));
	if (n < (int)sizeof(table) || !table[ENTRY])
		return fail(detail, "the descriptor is not there");
	if (by_segment() != word)
		return fail(detail, "0x%x by it instead of 0x%x", by_segment(),
			    word);
	return pass(detail, "descriptor %d, 0x%016llx", ENTRY,
		    (unsigned long long)table[ENTRY]);
}

static void ldt_arm(void)
{
	helper_start(&helper, ldt_prepare, ldt_serve);
}

static bool ldt_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool ldt_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "ldt",
	.kind = "cpu",
	.holds = "a descriptor in the LDT, and the LDT itself",
	.damages = "empties it",
	.order = ORDER_CHILDREN,
	.arm = ldt_arm,
	.check = ldt_check,
	.damage = ldt_damage,
};
