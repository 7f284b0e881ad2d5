// SPDX-License-Identifier: GPL-2.0-only
/* A transparent huge page: asked for by madvise(2); its content counts. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(2 * MEBIBYTE)

static unsigned char *region;

static void transparent_huge_page_arm(void)
{
	uintptr_t start;

	region = mmap(NULL, 2 * BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die_errno("mmap");
	start = ((uintptr_t)region + BYTES - 1) & -BYTES;
	region = (unsigned char *)start;
	if (madvise(region, BYTES, MADV_HUGEPAGE)) {
		not_here("no CONFIG_TRANSPARENT_HUGEPAGE: %s",
			 strerror(errno));
		return;
	}
	fill(region, BYTES, salt("transparent-huge-page", 0), 0);
}

static bool transparent_huge_page_check(char *detail)
{
	struct difference diff = { 0 };

	compare(&diff, region, BYTES, salt("transparent-huge-page", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the region", &diff);
	return pass(detail, "%lu KiB at %p", BYTES / 1024, (void *)region);
}

static bool transparent_huge_page_damage(char *detail)
{
	(void)detail;
	region[BYTES / 2 + 9] ^= 8;
	return true;
}

WITNESS = {
	.name = "transparent-huge-page",
	.kind = "memory",
	.holds = "a transparent huge page",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = transparent_huge_page_arm,
	.check = transparent_huge_page_check,
	.damage = transparent_huge_page_damage,
};
