// SPDX-License-Identifier: GPL-2.0-only
/* What prctl(2) sets, each other than its default. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define SLACK	123456

static void prctl_prepare(struct helper_page *page)
{
	(void)page;
	if (prctl(PR_SET_NAME, "kspawn-prctl") ||
	    prctl(PR_SET_TIMERSLACK, SLACK) || prctl(PR_SET_DUMPABLE, 0) ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die_errno("prctl");
}

static bool prctl_serve(struct helper_page *page, int what, char *detail)
{
	char name[16] = "";
	int reaper = 0, death = 0;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (prctl(PR_SET_TIMERSLACK, SLACK + 1))
			return fail_errno(detail, "PR_SET_TIMERSLACK");
		return true;
	}
	if (prctl(PR_GET_NAME, name) || prctl(PR_GET_PDEATHSIG, &death) ||
	    prctl(PR_GET_CHILD_SUBREAPER, &reaper))
		return fail_errno(detail, "prctl");
	if (strcmp(name, "kspawn-prctl"))
		return fail(detail, "name %s", name);
	if (prctl(PR_GET_TIMERSLACK) != SLACK)
		return fail(detail, "timer slack %d instead of %d",
			    prctl(PR_GET_TIMERSLACK), SLACK);
	if (prctl(PR_GET_DUMPABLE) || !reaper || death != SIGKILL ||
	    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return fail(detail, "dumpable %d, reaper %d, signal %d",
			    prctl(PR_GET_DUMPABLE), reaper, death);
	return pass(detail, "6 settings");
}

static void prctl_arm(void)
{
	helper_start(&helper, prctl_prepare, prctl_serve);
}

static bool prctl_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool prctl_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "prctl",
	.kind = "process",
	.holds = "what prctl(2) sets",
	.damages = "changes the timer slack",
	.order = ORDER_CHILDREN,
	.arm = prctl_arm,
	.check = prctl_check,
	.damage = prctl_damage,
};
