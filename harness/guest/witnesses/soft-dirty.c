// SPDX-License-Identifier: GPL-2.0-only
/* Soft-dirty bits: pages 0, 2, ... were written after they were cleared. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define PAGES	16
#define BIT	55

static char *region;
static int pagemap = -1;

static bool read_bits(uint64_t *entries)
{
	return pread(pagemap, entries, PAGES * 8, (uintptr_t)region / PAGE * 8) ==
	       PAGES * 8;
}

static void soft_dirty_prepare(struct helper_page *page)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	uint64_t entries[PAGES] = { 0 };

	(void)page;
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die_errno("mmap");
	/* In kernels without transparent huge pages there is no such advice. */
	(void)madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE);
	memset(region, 1, PAGES * PAGE);
	if (fd < 0 || pagemap < 0 || write(fd, "4", 1) != 1) {
		not_here("no /proc/self/clear_refs: %s", strerror(errno));
		return;
	}
	close(fd);
	for (int i = 0; i < PAGES; i += 2)
		region[i * PAGE] = 2;
	if (!read_bits(entries) || !(entries[0] >> BIT & 1))
		not_here("no CONFIG_MEM_SOFT_DIRTY");
}

static bool soft_dirty_serve(struct helper_page *page, int what, char *detail)
{
	uint64_t entries[PAGES];

	(void)page;
	if (what == HELPER_DAMAGE) {
		region[5 * PAGE] = 3;
		return true;
	}
	if (!read_bits(entries))
		return fail_errno(detail, "pagemap");
	for (int i = 0; i < PAGES; i++)
		if ((int)(entries[i] >> BIT & 1) != !(i % 2))
			return fail(detail, "page %d at %p: soft-dirty %d instead of %d",
				    i, (void *)(region + i * PAGE),
				    (int)(entries[i] >> BIT & 1), !(i % 2));
	return pass(detail, "%d of %d pages", PAGES / 2, PAGES);
}

static void soft_dirty_arm(void)
{
	helper_start(&helper, soft_dirty_prepare, soft_dirty_serve);
}

static bool soft_dirty_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool soft_dirty_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "soft-dirty",
	.kind = "memory",
	.holds = "which pages were written since it was asked",
	.damages = "writes another page",
	.order = ORDER_CHILDREN,
	.arm = soft_dirty_arm,
	.check = soft_dirty_check,
	.damage = soft_dirty_damage,
};
