// SPDX-License-Identifier: GPL-2.0-only
/* mremap(2): pages that were moved, and others behind them. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(16 * PAGE)

static unsigned char *region;

static void moved_memory_arm(void)
{
	region = mmap(NULL, BYTES / 2, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die_errno("mmap");
	memset(region, 1, BYTES / 2);
	region = mremap(region, BYTES / 2, BYTES, MREMAP_MAYMOVE);
	if (region == MAP_FAILED)
		die_errno("mremap");
	fill(region, BYTES, salt("moved-memory", 0), 0);
}

static bool moved_memory_check(char *detail)
{
	struct difference diff = { 0 };

	compare(&diff, region, BYTES, salt("moved-memory", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the region", &diff);
	return pass(detail, "%lu KiB at %p", BYTES / 1024, (void *)region);
}

static bool moved_memory_damage(char *detail)
{
	(void)detail;
	region[BYTES / 2 + 9] ^= 8;
	return true;
}

WITNESS = {
	.name = "moved-memory",
	.kind = "memory",
	.holds = "memory that was moved and grown",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = moved_memory_arm,
	.check = moved_memory_check,
	.damage = moved_memory_damage,
};
