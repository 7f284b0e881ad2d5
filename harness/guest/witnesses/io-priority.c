// SPDX-License-Identifier: GPL-2.0-only
/* ioprio_set(2): best effort, level 6. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define WHO_PROCESS	1
#define WANTED		(2 << 13 | 6)

static void io_priority_prepare(struct helper_page *page)
{
	(void)page;
	if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, WANTED))
		not_here("no CONFIG_BLOCK: %s", strerror(errno));
}

static bool io_priority_serve(struct helper_page *page, int what, char *detail)
{
	long is;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (syscall(SYS_ioprio_set, WHO_PROCESS, 0, WANTED - 1))
			return fail_errno(detail, "ioprio_set");
		return true;
	}
	is = syscall(SYS_ioprio_get, WHO_PROCESS, 0);
	if (is != WANTED)
		return fail(detail, "priority 0x%lx instead of 0x%x", is,
			    WANTED);
	return pass(detail, "priority 0x%lx", is);
}

static void io_priority_arm(void)
{
	helper_start(&helper, io_priority_prepare, io_priority_serve);
}

static bool io_priority_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool io_priority_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "io-priority",
	.kind = "process",
	.holds = "a class and a level of I/O priority",
	.damages = "changes the level",
	.order = ORDER_CHILDREN,
	.arm = io_priority_arm,
	.check = io_priority_check,
	.damage = io_priority_damage,
};
