// SPDX-License-Identifier: GPL-2.0-only
/* A child that has ended: its exit code waits to be asked for. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define CODE	37

static pid_t child;

static void zombie_arm(void)
{
	siginfo_t info;

	child = fork();
	if (child < 0)
		die_errno("fork");
	if (!child)
		_exit(CODE);
	if (waitid(P_PID, child, &info, WEXITED | WNOWAIT))
		die_errno("waitid");
}

static bool zombie_check(char *detail)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, child, &info, WEXITED | WNOWAIT | WNOHANG))
		return fail_errno(detail, "waitid");
	if (info.si_pid != child || info.si_code != CLD_EXITED ||
	    info.si_status != CODE)
		return fail(detail, "child %d, code %d, status %d instead of %d, %d, %d",
			    (int)info.si_pid, info.si_code, info.si_status,
			    (int)child, CLD_EXITED, CODE);
	return pass(detail, "child %d ended with %d", (int)child, CODE);
}

static bool zombie_damage(char *detail)
{
	if (waitpid(child, NULL, 0) != child)
		return fail_errno(detail, "waitpid");
	return true;
}

WITNESS = {
	.name = "zombie",
	.kind = "process",
	.holds = "a child that has ended and is not waited for",
	.damages = "waits for it",
	.order = ORDER_CHILDREN,
	.arm = zombie_arm,
	.check = zombie_check,
	.damage = zombie_damage,
};
