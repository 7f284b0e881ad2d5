// SPDX-License-Identifier: GPL-2.0-only
/* Memory that was given to KSM: madvise(2), MADV_MERGEABLE. */
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

static void mergeable_memory_arm(void)
{
	region = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die_errno("mmap");
	if (madvise(region, BYTES, MADV_MERGEABLE)) {
		not_here("no CONFIG_KSM: %s", strerror(errno));
		return;
	}
	fill(region, BYTES, salt("mergeable-memory", 0), 0);
}

static bool mergeable_memory_check(char *detail)
{
	struct difference diff = { 0 };

	compare(&diff, region, BYTES, salt("mergeable-memory", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the region", &diff);
	return pass(detail, "%lu KiB at %p", BYTES / 1024, (void *)region);
}

static bool mergeable_memory_damage(char *detail)
{
	(void)detail;
	region[BYTES / 2 + 9] ^= 8;
	return true;
}

WITNESS = {
	.name = "mergeable-memory",
	.kind = "memory",
	.holds = "memory that KSM may merge",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = mergeable_memory_arm,
	.check = mergeable_memory_check,
	.damage = mergeable_memory_damage,
};
