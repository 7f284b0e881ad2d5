// SPDX-License-Identifier: GPL-2.0-only
/* hugetlb: a page of 2 MiB; one is asked for if there is none. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES		(2 * MEBIBYTE)
#define OVERCOMMIT	"/proc/sys/vm/nr_overcommit_hugepages"

static unsigned char *region = MAP_FAILED;

static unsigned char *map(void)
{
	return mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
}

/* One above the pool, for as long as it is mapped. The limit is put back. */
static unsigned char *map_surplus(void)
{
	int fd = open(OVERCOMMIT, O_RDWR | O_CLOEXEC);
	unsigned char *it = MAP_FAILED;
	char was[32] = "";
	ssize_t bytes;

	if (fd < 0)
		return MAP_FAILED;
	bytes = read(fd, was, sizeof(was) - 1);
	if (bytes > 0 && pwrite(fd, "1", 1, 0) == 1) {
		it = map();
		if (pwrite(fd, was, bytes, 0) != bytes)
			die_errno(OVERCOMMIT);
	}
	close(fd);
	return it;
}

static void huge_page_arm(void)
{
	region = map();
	if (region == MAP_FAILED)
		region = map_surplus();
	if (region == MAP_FAILED) {
		not_here("no CONFIG_HUGETLBFS, or no page of 2 MiB: %s",
			 strerror(errno));
		return;
	}
	fill(region, BYTES, salt("huge-page", 0), 0);
}

static bool huge_page_check(char *detail)
{
	struct difference diff = { 0 };

	compare(&diff, region, BYTES, salt("huge-page", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the page", &diff);
	return pass(detail, "%lu KiB at %p", BYTES / 1024, (void *)region);
}

static bool huge_page_damage(char *detail)
{
	(void)detail;
	region[BYTES - 4099] ^= 1;
	return true;
}

WITNESS = {
	.name = "huge-page",
	.kind = "memory",
	.holds = "a page of hugetlb",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = huge_page_arm,
	.check = huge_page_check,
	.damage = huge_page_damage,
};
