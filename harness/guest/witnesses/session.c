// SPDX-License-Identifier: GPL-2.0-only
/* A session, a process group, and a child of the helper in a group of its own. */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static pid_t other;

static void session_prepare(struct helper_page *page)
{
	if (setsid() < 0)
		die_errno("setsid");
	other = fork();
	if (other < 0)
		die_errno("fork");
	if (!other) {
		leave_parent();
		for (;;)
			pause();
	}
	if (setpgid(other, other))
		die_errno("setpgid");
	page->value[0] = getpid();
}

static bool session_serve(struct helper_page *page, int what, char *detail)
{
	pid_t self = page->value[0];

	if (what == HELPER_DAMAGE) {
		if (setpgid(other, self))
			return fail_errno(detail, "setpgid");
		return true;
	}
	if (getpid() != self || getsid(0) != self || getpgid(0) != self)
		return fail(detail, "process %d, session %d, group %d",
			    (int)getpid(), (int)getsid(0), (int)getpgid(0));
	if (getsid(other) != self || getpgid(other) != other)
		return fail(detail, "its child: session %d, group %d",
			    (int)getsid(other), (int)getpgid(other));
	return pass(detail, "session %d, two groups", (int)self);
}

static void session_arm(void)
{
	helper_start(&helper, session_prepare, session_serve);
}

static bool session_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool session_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "session",
	.kind = "process",
	.holds = "a session and groups of its own",
	.damages = "leaves its group",
	.order = ORDER_CHILDREN,
	.arm = session_arm,
	.check = session_check,
	.damage = session_damage,
};
