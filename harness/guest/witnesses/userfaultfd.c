// SPDX-License-Identifier: GPL-2.0-only
/* userfaultfd(2): pages that are there, and pages that somebody is to bring. */
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

static void userfaultfd_arm(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char page[PAGE];

	fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
		not_here("no CONFIG_USERFAULTFD: %s", strerror(errno));
		return;
	}
	region = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)region;
	range.range.len = PAGES * PAGE;
	if (region == MAP_FAILED || pipe2(ends, O_CLOEXEC | O_NONBLOCK) ||
	    ioctl(fd, UFFDIO_REGISTER, &range))
		die_errno("UFFDIO_REGISTER");
	for (int i = 0; i < PAGES; i += 2) {
		struct uffdio_copy copy = {
			.dst = (uintptr_t)region + i * PAGE,
			.src = (uintptr_t)page,
			.len = PAGE,
		};

		fill(page, PAGE, salt("userfaultfd", i), i * PAGE);
		if (ioctl(fd, UFFDIO_COPY, &copy))
			die_errno("UFFDIO_COPY");
	}
}

static bool userfaultfd_check(char *detail)
{
	for (int i = 0; i < PAGES; i += 2) {
		struct difference diff = { 0 };
		char *missing = region + (i + 1) * PAGE, byte;

		/*
		 * The kernel is not to wait for who brings the page: EFAULT,
		 * by UFFD_USER_MODE_ONLY.
		 */
		if (write(ends[1], missing, 1) != -1 || errno != EFAULT) {
			(void)!read(ends[0], &byte, 1);
			return fail(detail, "page %d at %p: it is there, or nobody is asked for it",
				    i + 1, (void *)missing);
		}
		compare(&diff, region + i * PAGE, PAGE,
			salt("userfaultfd", i), i * PAGE);
		if (diff.differ)
			return fail_difference(detail, "the region", &diff);
	}
	return pass(detail, "%d pages there, %d missing", PAGES / 2, PAGES / 2);
}

static bool userfaultfd_damage(char *detail)
{
	struct uffdio_range range = {
		.start = (uintptr_t)region, .len = PAGES * PAGE,
	};

	if (ioctl(fd, UFFDIO_UNREGISTER, &range))
		return fail_errno(detail, "UFFDIO_UNREGISTER");
	return true;
}

WITNESS = {
	.name = "userfaultfd",
	.kind = "memory",
	.holds = "a userfaultfd region, half of it filled",
	.damages = "unregisters it",
	.order = ORDER_MAIN,
	.arm = userfaultfd_arm,
	.check = userfaultfd_check,
	.damage = userfaultfd_damage,
};
