// SPDX-License-Identifier: GPL-2.0-only
/* PR_SET_SYSCALL_USER_DISPATCH: while a byte says so, a system call ends in SIGSYS. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define SET_DISPATCH	59

static volatile char selector;
static volatile sig_atomic_t caught;

static void refused(int number)
{
	(void)number;
	selector = 0;
	caught++;
}

static bool dispatch(int mode)
{
	return !prctl(SET_DISPATCH, mode, 0, 0, mode ? &selector : NULL);
}

static void syscall_dispatch_prepare(struct helper_page *page)
{
	struct sigaction action = { .sa_handler = refused };

	(void)page;
	if (sigaction(SIGSYS, &action, NULL))
		die_errno("sigaction");
	if (!dispatch(1))
		not_here("no CONFIG_SYSCALL_USER_DISPATCH: %s",
			 strerror(errno));
}

static bool syscall_dispatch_serve(struct helper_page *page, int what,
				   char *detail)
{
	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!dispatch(0))
			return fail_errno(detail, "prctl");
		return true;
	}
	caught = 0;
	selector = 1;
	syscall(SYS_getppid);
	selector = 0;
	if (caught != 1)
		return fail(detail, "%d signals instead of 1", (int)caught);
	return pass(detail, "a call ends in SIGSYS");
}

static void syscall_dispatch_arm(void)
{
	helper_start(&helper, syscall_dispatch_prepare, syscall_dispatch_serve);
}

static bool syscall_dispatch_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool syscall_dispatch_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "syscall-dispatch",
	.kind = "process",
	.holds = "calls that end in a signal, by a switch of the task",
	.damages = "turns it off",
	.order = ORDER_CHILDREN,
	.arm = syscall_dispatch_arm,
	.check = syscall_dispatch_check,
	.damage = syscall_dispatch_damage,
};
