// SPDX-License-Identifier: GPL-2.0-only
/* Anonymous memory that is shared: pages of shmem without a name. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(32 * PAGE)

static unsigned char *region;

static void shared_anonymous_arm(void)
{
	region = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die_errno("mmap");
	fill(region, BYTES, salt("shared-anonymous", 0), 0);
}

static bool shared_anonymous_check(char *detail)
{
	struct difference diff = { 0 };

	compare(&diff, region, BYTES, salt("shared-anonymous", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the region", &diff);
	return pass(detail, "%lu KiB at %p", BYTES / 1024, (void *)region);
}

static bool shared_anonymous_damage(char *detail)
{
	(void)detail;
	region[BYTES / 2 + 9] ^= 8;
	return true;
}

WITNESS = {
	.name = "shared-anonymous",
	.kind = "memory",
	.holds = "shared anonymous memory",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = shared_anonymous_arm,
	.check = shared_anonymous_check,
	.damage = shared_anonymous_damage,
};
