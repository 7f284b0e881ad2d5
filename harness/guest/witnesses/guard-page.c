// SPDX-License-Identifier: GPL-2.0-only
/* Pages without any right, below and above some that have them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define INSIDE	4

static char *area;
static int probe_fds[2];

/* The kernel reads the page for us: there is no signal to handle. */
static bool readable(const char *page)
{
	char c;

	if (write(probe_fds[1], page, 1) != 1)
		return false;
	return read(probe_fds[0], &c, 1) == 1;
}

static void guard_arm(void)
{
	area = mmap(NULL, (INSIDE + 2) * PAGE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die_errno("mmap");
	if (mprotect(area + PAGE, INSIDE * PAGE, PROT_READ | PROT_WRITE))
		die_errno("mprotect");
	if (pipe2(probe_fds, O_CLOEXEC | O_NONBLOCK))
		die_errno("pipe");
	fill(area + PAGE, INSIDE * PAGE, salt("guard-page", 0), 0);
}

static bool guard_check(char *detail)
{
	struct difference diff = { 0 };

	for (int i = 0; i < INSIDE + 2; i++) {
		bool guard = i == 0 || i == INSIDE + 1;

		if (readable(area + i * PAGE) == guard)
			return fail(detail, "page %d can%s be read", i,
				    guard ? "" : "not");
	}
	compare(&diff, area + PAGE, INSIDE * PAGE, salt("guard-page", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "between them", &diff);
	return pass(detail, "2 guard pages, %d pages between", INSIDE);
}

static bool guard_damage(char *detail)
{
	if (mprotect(area, PAGE, PROT_READ))
		return fail_errno(detail, "mprotect");
	return true;
}

WITNESS = {
	.name = "guard-page",
	.kind = "memory",
	.holds = "pages that nobody may touch, around a stack",
	.damages = "makes one of them readable",
	.order = ORDER_MAIN,
	.arm = guard_arm,
	.check = guard_check,
	.damage = guard_damage,
};
