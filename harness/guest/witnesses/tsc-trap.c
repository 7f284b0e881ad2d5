// SPDX-License-Identifier: GPL-2.0-only
/* PR_SET_TSC: rdtsc ends in SIGSEGV, by CR4.TSD of the task. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static sigjmp_buf place;

static void refused(int number)
{
	siglongjmp(place, number);
}

static void tsc_trap_prepare(struct helper_page *page)
{
	struct sigaction action = { .sa_handler = refused };

	(void)page;
	if (sigaction(SIGSEGV, &action, NULL))
		die_errno("sigaction");
	if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0))
		not_here("PR_SET_TSC: %s", strerror(errno));
}

static bool tsc_trap_serve(struct helper_page *page, int what, char *detail)
{
	int mode = 0;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (prctl(PR_SET_TSC, PR_TSC_ENABLE, 0, 0, 0))
			return fail_errno(detail, "PR_SET_TSC");
		return true;
	}
	if (prctl(PR_GET_TSC, &mode, 0, 0, 0))
		return fail_errno(detail, "PR_GET_TSC");
	if (mode != PR_TSC_SIGSEGV)
		return fail(detail, "PR_GET_TSC: %d instead of %d", mode,
			    PR_TSC_SIGSEGV);
	if (!sigsetjmp(place, 1)) {
		__asm__ volatile("rdtsc" : : : "rax", "rdx");
		return fail(detail, "rdtsc is let through: CR4.TSD is clear");
	}
	return pass(detail, "rdtsc is refused");
}

static void tsc_trap_arm(void)
{
	helper_start(&helper, tsc_trap_prepare, tsc_trap_serve);
}

static bool tsc_trap_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool tsc_trap_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "tsc-trap",
	.kind = "cpu",
	.holds = "a task that may not read the TSC",
	.damages = "lets it",
	.order = ORDER_CHILDREN,
	.arm = tsc_trap_arm,
	.check = tsc_trap_check,
	.damage = tsc_trap_damage,
};
