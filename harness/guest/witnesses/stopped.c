// SPDX-License-Identifier: GPL-2.0-only
/* A child that a signal has stopped. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static void stopped_prepare(struct helper_page *page)
{
	(void)page;
}

static bool stopped_serve(struct helper_page *page, int what, char *detail)
{
	(void)page;
	(void)what;
	(void)detail;
	return true;
}

static void stopped_arm(void)
{
	siginfo_t info;

	helper_start(&helper, stopped_prepare, stopped_serve);
	if (kill(helper.pid, SIGSTOP) ||
	    waitid(P_PID, helper.pid, &info, WSTOPPED | WNOWAIT))
		die_errno("waitid");
}

static char state_of(pid_t pid)
{
	char path[40], text[256], *end;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return '?';
	end = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
	if (fclose(file) || !end)
		return '?';
	return end[2];
}

static bool stopped_check(char *detail)
{
	siginfo_t info = { 0 };

	if (state_of(helper.pid) != 'T')
		return fail(detail, "it is in state %c", state_of(helper.pid));
	if (waitid(P_PID, helper.pid, &info, WSTOPPED | WNOWAIT | WNOHANG))
		return fail_errno(detail, "waitid");
	if (info.si_pid != helper.pid || info.si_status != SIGSTOP)
		return fail(detail, "child %d stopped by %d", (int)info.si_pid,
			    info.si_status);
	return pass(detail, "child %d stopped by SIGSTOP", (int)helper.pid);
}

static bool stopped_damage(char *detail)
{
	siginfo_t info;

	if (kill(helper.pid, SIGCONT) ||
	    waitid(P_PID, helper.pid, &info, WCONTINUED | WNOWAIT))
		return fail_errno(detail, "SIGCONT");
	return true;
}

WITNESS = {
	.name = "stopped",
	.kind = "process",
	.holds = "a child that was stopped",
	.damages = "lets it go on",
	.order = ORDER_CHILDREN,
	.arm = stopped_arm,
	.check = stopped_check,
	.damage = stopped_damage,
};
