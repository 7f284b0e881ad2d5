// SPDX-License-Identifier: GPL-2.0-only
/* rt_sigtimedwait(2): a blocked signal that has not come. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static pid_t pid_of(void);

static int64_t block(void)
{
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	do
		got = sigwaitinfo(&set, NULL);
	while (got < 0 && errno == EINTR);
	return got;
}

static bool wake(char *detail)
{
	if (kill(pid_of(), SIGUSR1))
		return fail_errno(detail, "kill");
	return true;
}

static struct blocked blocked = {
	.number = SYS_rt_sigtimedwait,
	.block = block,
	.wake = wake,
	.expected = SIGUSR1,
};

static pid_t pid_of(void)
{
	return blocked.pid;
}

static void blocked_signal_arm(void)
{
	sigset_t set, old;

	if (sigemptyset(&set) || sigaddset(&set, SIGUSR1) ||
	    sigprocmask(SIG_BLOCK, &set, &old))
		die_errno("sigprocmask");
	blocked_start(&blocked);
	if (sigprocmask(SIG_SETMASK, &old, NULL))
		die_errno("sigprocmask");
}

static bool blocked_signal_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_signal_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_signal_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-signal",
	.kind = "process",
	.holds = "a child that waits in sigtimedwait(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_signal_arm,
	.check = blocked_signal_check,
	.damage = blocked_signal_damage,
	.end = blocked_signal_end,
};
