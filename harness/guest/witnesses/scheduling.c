// SPDX-License-Identifier: GPL-2.0-only
/* A real-time policy, that a child is not to have it, and the score for the OOM killer. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define PRIORITY	7
#define RESET_ON_FORK	0x40000000
#define SCORE		321

static int oom_score(int *score)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "re");
	int n = file ? fscanf(file, "%d", score) : 0;

	return (file && fclose(file)) || n != 1 ? -1 : 0;
}

static void scheduling_prepare(struct helper_page *page)
{
	struct sched_param parameter = { .sched_priority = PRIORITY };
	FILE *file;

	(void)page;
	if (syscall(SYS_sched_setscheduler, 0, SCHED_RR | RESET_ON_FORK,
		    &parameter)) {
		not_here("no real-time policy: %s", strerror(errno));
		return;
	}
	file = fopen("/proc/self/oom_score_adj", "we");
	if (!file || fprintf(file, "%d", SCORE) < 0 || fclose(file))
		die_errno("oom_score_adj");
}

static bool scheduling_serve(struct helper_page *page, int what, char *detail)
{
	struct sched_param parameter = { .sched_priority = PRIORITY + 1 };
	int policy = syscall(SYS_sched_getscheduler, 0), score;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (syscall(SYS_sched_setparam, 0, &parameter))
			return fail_errno(detail, "sched_setparam");
		return true;
	}
	if (syscall(SYS_sched_getparam, 0, &parameter) || oom_score(&score))
		return fail_errno(detail, "sched_getparam");
	if (policy != (SCHED_RR | RESET_ON_FORK) ||
	    parameter.sched_priority != PRIORITY || score != SCORE)
		return fail(detail, "policy 0x%x, priority %d, score %d", policy,
			    parameter.sched_priority, score);
	return pass(detail, "SCHED_RR %d, score %d", PRIORITY, SCORE);
}

static void scheduling_arm(void)
{
	helper_start(&helper, scheduling_prepare, scheduling_serve);
}

static bool scheduling_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool scheduling_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "scheduling",
	.kind = "process",
	.holds = "a real-time policy, its priority, and OOM score",
	.damages = "changes the priority",
	.order = ORDER_CHILDREN,
	.arm = scheduling_arm,
	.check = scheduling_check,
	.damage = scheduling_damage,
};
