// SPDX-License-Identifier: GPL-2.0-only
/* Each limit that can be lowered, lowered. */
#define _GNU_SOURCE
#include <sys/resource.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static const struct {
	int resource;
	rlim_t value;
} limits[] = {
	{ RLIMIT_CORE, 4096 }, { RLIMIT_CPU, 86400 }, { RLIMIT_DATA, 1 << 30 },
	{ RLIMIT_FSIZE, 1 << 29 }, { RLIMIT_NOFILE, 60 },
	{ RLIMIT_STACK, 1 << 20 }, { RLIMIT_NICE, 0 }, { RLIMIT_RTPRIO, 0 },
	{ RLIMIT_SIGPENDING, 99 }, { RLIMIT_MSGQUEUE, 1000 },
};

static void rlimits_prepare(struct helper_page *page)
{
	(void)page;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit limit;

		if (getrlimit(limits[i].resource, &limit))
			die_errno("getrlimit");
		if (limit.rlim_max < limits[i].value) {
			not_here("limit %zu is lower already", i);
			return;
		}
		limit.rlim_cur = limits[i].value;
		if (setrlimit(limits[i].resource, &limit))
			die_errno("setrlimit");
	}
}

static bool rlimits_serve(struct helper_page *page, int what, char *detail)
{
	struct rlimit limit;

	(void)page;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		if (getrlimit(limits[i].resource, &limit))
			return fail_errno(detail, "getrlimit");
		if (limit.rlim_cur != limits[i].value)
			return fail(detail, "limit %d: %llu instead of %llu",
				    limits[i].resource,
				    (unsigned long long)limit.rlim_cur,
				    (unsigned long long)limits[i].value);
	}
	if (what == HELPER_DAMAGE) {
		if (getrlimit(RLIMIT_SIGPENDING, &limit))
			return fail_errno(detail, "getrlimit");
		limit.rlim_cur--;
		if (setrlimit(RLIMIT_SIGPENDING, &limit))
			return fail_errno(detail, "setrlimit");
	}
	return pass(detail, "%zu limits", ARRAY_SIZE(limits));
}

static void rlimits_arm(void)
{
	helper_start(&helper, rlimits_prepare, rlimits_serve);
}

static bool rlimits_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool rlimits_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "rlimits",
	.kind = "process",
	.holds = "limits of its own",
	.damages = "changes a limit",
	.order = ORDER_CHILDREN,
	.arm = rlimits_arm,
	.check = rlimits_check,
	.damage = rlimits_damage,
};
