// SPDX-License-Identifier: GPL-2.0-only
/* userfaultfd(2), write protection: pages that are there, and half of which nobody may write. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

/* Headers before Linux 5.11 have no name for it. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif
#define PAGES	8

static int fd = -1, ends[2];
static char *region;

static bool protect(int page, bool how)
{
	struct uffdio_writeprotect range = {
		.range.start = (uintptr_t)region + page * PAGE,
		.range.len = PAGE,
		.mode = how ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &range);
}

static void userfaultfd_protect_arm(void)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
		not_here("no write protection by userfaultfd: %s",
			 strerror(errno));
		return;
	}
	region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)region;
	range.range.len = PAGES * PAGE;
	if (region == MAP_FAILED || pipe2(ends, O_CLOEXEC | O_NONBLOCK) ||
	    ioctl(fd, UFFDIO_REGISTER, &range))
		die_errno("UFFDIO_REGISTER");
	/* In kernels without transparent huge pages there is no such advice. */
	(void)madvise(region, PAGES * PAGE, MADV_NOHUGEPAGE);
	fill(region, PAGES * PAGE, salt("userfaultfd-protect", 0), 0);
	for (int i = 0; i < PAGES; i += 2)
		if (!protect(i, true))
			die_errno("UFFDIO_WRITEPROTECT");
}

/* The kernel writes there as the process would: the byte that is there. */
static bool may_write(int page)
{
	char *byte = region + page * PAGE;
	bool good = write(ends[1], byte, 1) == 1 && read(ends[0], byte, 1) == 1;
	char rest;

	(void)!read(ends[0], &rest, 1);
	return good;
}

static bool userfaultfd_protect_check(char *detail)
{
	struct difference diff = { 0 };

	for (int i = 0; i < PAGES; i++)
		if (may_write(i) != (i % 2 == 1))
			return fail(detail, "page %d at %p: it %s be written",
				    i, (void *)(region + i * PAGE),
				    i % 2 ? "cannot" : "can");
	compare(&diff, region, PAGES * PAGE, salt("userfaultfd-protect", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the region", &diff);
	return pass(detail, "%d of %d pages", PAGES / 2, PAGES);
}

static bool userfaultfd_protect_damage(char *detail)
{
	if (!protect(4, false))
		return fail_errno(detail, "UFFDIO_WRITEPROTECT");
	return true;
}

WITNESS = {
	.name = "userfaultfd-protect",
	.kind = "memory",
	.holds = "pages that userfaultfd protects from writes",
	.damages = "lifts it from one",
	.order = ORDER_MAIN,
	.arm = userfaultfd_protect_arm,
	.check = userfaultfd_protect_check,
	.damage = userfaultfd_protect_damage,
};
