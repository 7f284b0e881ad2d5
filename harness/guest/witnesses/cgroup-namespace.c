// SPDX-License-Identifier: GPL-2.0-only
/* A cgroup namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static void cgroup_namespace_prepare(struct helper_page *page)
{
	struct stat st;

	if (unshare(CLONE_NEWCGROUP) < 0) {
		not_here("unshare(CLONE_NEWCGROUP): %s", strerror(errno));
		return;
	}
	if (stat("/proc/self/ns/cgroup", &st)) {
		not_here("no /proc/self/ns/cgroup");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool cgroup_namespace_serve(struct helper_page *page, int what, char *detail)
{
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (unshare(CLONE_NEWCGROUP))
			return fail_errno(detail, "unshare");
		return true;
	}
	if (stat("/proc/self/ns/cgroup", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void cgroup_namespace_arm(void)
{
	helper_start(&helper, cgroup_namespace_prepare, cgroup_namespace_serve);
}

static bool cgroup_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool cgroup_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "cgroup-namespace",
	.kind = "process",
	.holds = "a cgroup namespace",
	.damages = "leaves it for another",
	.order = ORDER_CHILDREN,
	.arm = cgroup_namespace_arm,
	.check = cgroup_namespace_check,
	.damage = cgroup_namespace_damage,
};
