// SPDX-License-Identifier: GPL-2.0-only
/* SCHED_DEADLINE: runtime, deadline and period. */
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

struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* One that has used up its runtime waits for the next period: a short one. */
static const struct attributes wanted = {
	.size = 48, .policy = 6, .runtime = 20000000, .deadline = 30000000,
	.period = 50000000,
};

static void deadline_prepare(struct helper_page *page)
{
	(void)page;
	if (syscall(SYS_sched_setattr, 0, &wanted, 0))
		not_here("sched_setattr: %s", strerror(errno));
}

static bool deadline_serve(struct helper_page *page, int what, char *detail)
{
	struct attributes is = { 0 };

	(void)page;
	if (what == HELPER_DAMAGE) {
		is = wanted;
		is.runtime /= 2;
		if (syscall(SYS_sched_setattr, 0, &is, 0))
			return fail_errno(detail, "sched_setattr");
		return true;
	}
	if (syscall(SYS_sched_getattr, 0, &is, sizeof(is), 0))
		return fail_errno(detail, "sched_getattr");
	if (is.policy != wanted.policy)
		return fail(detail, "policy %u instead of %u", is.policy,
			    wanted.policy);
	if (is.runtime != wanted.runtime || is.deadline != wanted.deadline ||
	    is.period != wanted.period)
		return fail(detail, "%llu of %llu in %llu ns instead of %llu",
			    (unsigned long long)is.runtime,
			    (unsigned long long)is.deadline,
			    (unsigned long long)is.period,
			    (unsigned long long)wanted.runtime);
	return pass(detail, "20 ms in each 50 ms");
}

static void deadline_arm(void)
{
	helper_start(&helper, deadline_prepare, deadline_serve);
}

static bool deadline_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool deadline_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "deadline",
	.kind = "process",
	.holds = "a DEADLINE policy with its runtime and period",
	.damages = "changes the runtime",
	.order = ORDER_CHILDREN,
	.arm = deadline_arm,
	.check = deadline_check,
	.damage = deadline_damage,
};
