// SPDX-License-Identifier: GPL-2.0-only
/* Address space without memory: what was never touched is not there. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(1UL << 30)
#define TOUCHED	17

static char *area;

static size_t place(size_t i)
{
	return (i * 3331 + 7) * PAGE;
}

static void noreserve_arm(void)
{
	area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		die_errno("mmap");
	/* A kernel without huge pages, or without madvise(2), makes none. */
	if (madvise(area, BYTES, MADV_NOHUGEPAGE) && errno != EINVAL &&
	    errno != ENOSYS)
		die_errno("madvise");
	for (size_t i = 0; i < TOUCHED; i++)
		fill(area + place(i), PAGE, salt("noreserve", 0), place(i));
}

static bool noreserve_check(char *detail)
{
	static unsigned char there[BYTES / PAGE];
	struct difference diff = { 0 };
	size_t pages = 0;

	if (mincore(area, BYTES, there))
		return fail_errno(detail, "mincore");
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		pages += there[i] & 1;
	for (size_t i = 0; i < TOUCHED; i++)
		compare(&diff, area + place(i), PAGE, salt("noreserve", 0),
			place(i));
	if (diff.differ)
		return fail_difference(detail, "a page", &diff);
	if (pages > TOUCHED)
		return fail(detail, "%zu pages are there instead of %d", pages,
			    TOUCHED);
	return pass(detail, "%zu of %lu pages", pages, BYTES / PAGE);
}

static bool noreserve_damage(char *detail)
{
	(void)detail;
	area[BYTES / 2] = 1;
	return true;
}

WITNESS = {
	.name = "noreserve",
	.kind = "memory",
	.holds = "1 GiB of address space, 17 pages of it there",
	.damages = "touches one page more",
	.order = ORDER_MAIN,
	.arm = noreserve_arm,
	.check = noreserve_check,
	.damage = noreserve_damage,
};
