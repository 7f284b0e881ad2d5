// SPDX-License-Identifier: GPL-2.0-only
/* SCHED_BATCH, niceness 7, and SCHED_RESET_ON_FORK. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define RESET_ON_FORK	0x40000000
#define NICE		7

static bool set_policy(int policy)
{
	const struct sched_param none = { 0 };

	return !syscall(SYS_sched_setscheduler, 0, policy, &none);
}

static void batch_policy_prepare(struct helper_page *page)
{
	(void)page;
	if (setpriority(PRIO_PROCESS, 0, NICE)) {
		not_here("setpriority: %s", strerror(errno));
		return;
	}
	if (!set_policy(SCHED_BATCH | RESET_ON_FORK))
		die_errno("sched_setscheduler");
}

static bool batch_policy_serve(struct helper_page *page, int what, char *detail)
{
	int wanted = SCHED_BATCH | RESET_ON_FORK, is;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!set_policy(SCHED_IDLE | RESET_ON_FORK))
			return fail_errno(detail, "sched_setscheduler");
		return true;
	}
	is = syscall(SYS_sched_getscheduler, 0);
	if (is != wanted)
		return fail(detail, "policy 0x%x instead of 0x%x", is, wanted);
	if (getpriority(PRIO_PROCESS, 0) != NICE)
		return fail(detail, "niceness %d instead of %d",
			    getpriority(PRIO_PROCESS, 0), NICE);
	return pass(detail, "policy 0x%x, niceness %d", is, NICE);
}

static void batch_policy_arm(void)
{
	helper_start(&helper, batch_policy_prepare, batch_policy_serve);
}

static bool batch_policy_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool batch_policy_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "batch-policy",
	.kind = "process",
	.holds = "the batch policy, with a reset on fork",
	.damages = "makes it the idle policy",
	.order = ORDER_CHILDREN,
	.arm = batch_policy_arm,
	.check = batch_policy_check,
	.damage = batch_policy_damage,
};
