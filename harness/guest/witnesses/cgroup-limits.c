// SPDX-License-Identifier: GPL-2.0-only
/* cgroup v2: how deep and how wide a group may grow, and that it may not more. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "files.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static void cgroup_limits_prepare(struct helper_page *page)
{
	(void)page;
	if (!make_cgroup("limits"))
		return;
	if (!write_text("cgroup.max.descendants", "0") ||
	    !write_text("cgroup.max.depth", "7") ||
	    !write_text("cgroup.procs", "0"))
		die_errno("the limits");
}

static bool cgroup_limits_serve(struct helper_page *page, int what,
				char *detail)
{
	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!write_text("cgroup.max.depth", "8"))
			return fail_errno(detail, "write");
		return true;
	}
	if (!cgroup_says("cgroup.max.depth", "7"))
		return fail(detail, "cgroup.max.depth is not 7");
	if (!cgroup_says("cgroup.max.descendants", "0"))
		return fail(detail, "cgroup.max.descendants is not 0");
	if (!mkdir("more", 0700)) {
		rmdir("more");
		return fail(detail, "it may have a group below it");
	}
	if (errno != EAGAIN)
		return fail_errno(detail, "mkdir");
	if (!cgroup_says("cgroup.events", "populated 1"))
		return fail(detail, "cgroup.events: it is not populated");
	return pass(detail, "2 limits");
}

static void cgroup_limits_arm(void)
{
	helper_start(&helper, cgroup_limits_prepare, cgroup_limits_serve);
}

static bool cgroup_limits_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool cgroup_limits_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "cgroup-limits",
	.kind = "process",
	.holds = "a cgroup with limits",
	.damages = "changes a limit",
	.order = ORDER_CHILDREN,
	.arm = cgroup_limits_arm,
	.check = cgroup_limits_check,
	.damage = cgroup_limits_damage,
};
