// SPDX-License-Identifier: GPL-2.0-only
/* Signals that are blocked. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "report.h"
#include "signals.h"

void block_signal(int number)
{
	sigset_t set;

	if (sigemptyset(&set) || sigaddset(&set, number))
		die_errno("sigaddset");
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		die_errno("sigprocmask");
}

/* Takes a pending signal; returns its number, or 0 if there is none. */
int take_signal(int number, siginfo_t *info)
{
	struct timespec none = { 0 };
	sigset_t set;
	int taken;

	if (sigemptyset(&set) || sigaddset(&set, number))
		die_errno("sigaddset");
	do
		taken = sigtimedwait(&set, info, &none);
	while (taken < 0 && errno == EINTR);
	if (taken < 0 && errno != EAGAIN)
		die_errno("sigtimedwait");
	return taken < 0 ? 0 : taken;
}
