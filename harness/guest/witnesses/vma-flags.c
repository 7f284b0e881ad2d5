// SPDX-License-Identifier: GPL-2.0-only
/* What madvise(2) and mlock(2) said of a mapping, as smaps shows it. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(16 * PAGE)

static char *area;

/* The flags of the mapping at an address; false if smaps has none. */
static bool vma_flags(char *flags, size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	char line[512];
	bool ours = false, found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			ours = start <= (unsigned long)area &&
			       (unsigned long)area < end;
		if (ours && !strncmp(line, "VmFlags:", 8)) {
			snprintf(flags, size, "%s", line + 8);
			found = true;
		}
	}
	return file && !fclose(file) && found;
}

static void vma_arm(void)
{
	char flags[512];

	area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die_errno("mmap");
	if (!vma_flags(flags, sizeof(flags))) {
		not_here("no VmFlags in /proc/self/smaps");
		return;
	}
	if (madvise(area, BYTES, MADV_DONTFORK) ||
	    madvise(area, BYTES, MADV_DONTDUMP))
		die_errno("madvise");
	if (mlock(area, BYTES)) {
		not_here("no right to lock memory");
		return;
	}
	fill(area, BYTES, salt("vma-flags", 0), 0);
}

static bool vma_check(char *detail)
{
	static const char *const wanted[] = { " lo", " dc", " dd" };
	struct difference diff = { 0 };
	char flags[512];

	if (!vma_flags(flags, sizeof(flags)))
		return fail(detail, "smaps does not have it any more");
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!strstr(flags, wanted[i]))
			return fail(detail, "the flag%s is not in%.100s",
				    wanted[i], flags);
	compare(&diff, area, BYTES, salt("vma-flags", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "locked memory", &diff);
	return pass(detail, "locked, not for children, not in cores");
}

static bool vma_damage(char *detail)
{
	if (munlock(area, BYTES))
		return fail_errno(detail, "munlock");
	return true;
}

WITNESS = {
	.name = "vma-flags",
	.kind = "memory",
	.holds = "locked memory that no child and no core gets",
	.damages = "unlocks it",
	.order = ORDER_MAIN,
	.arm = vma_arm,
	.check = vma_check,
	.damage = vma_damage,
};
