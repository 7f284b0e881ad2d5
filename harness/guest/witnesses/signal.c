// SPDX-License-Identifier: GPL-2.0-only
/*
 * A standard signal and two real-time signals, blocked and pending. All threads
 * come after this, so the signals are blocked in all of them.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "signals.h"
#include "types.h"
#include "witness.h"

#define STANDARD	SIGUSR1
#define REALTIME	SIGRTMIN

static int payload(int i)
{
	return value_of(salt("signal", i)) & INT_MAX;
}

static bool send_signals(char *detail)
{
	if (kill(getpid(), STANDARD))
		return fail_errno(detail, "kill");
	for (int i = 0; i < 2; i++) {
		union sigval value = { .sival_int = payload(i) };

		if (sigqueue(getpid(), REALTIME, value))
			return fail_errno(detail, "sigqueue");
	}
	return true;
}

static void signal_arm(void)
{
	char detail[DETAIL];

	block_signal(STANDARD);
	block_signal(REALTIME);
	if (!send_signals(detail))
		die("%s", detail);
}

static bool take_signals(char *detail)
{
	siginfo_t info;

	if (!take_signal(STANDARD, &info))
		return fail(detail, "the standard signal was not there");
	if (info.si_code != SI_USER || info.si_pid != getpid())
		return fail(detail, "a signal with code %d from %d", info.si_code,
			    (int)info.si_pid);
	for (int i = 0; i < 2; i++) {
		if (!take_signal(REALTIME, &info))
			return fail(detail, "real-time signal %d was not there",
				    i);
		if (info.si_code != SI_QUEUE || info.si_pid != getpid() ||
		    info.si_value.sival_int != payload(i))
			return fail(detail,
				    "real-time signal %d: code %d, from %d, value %d instead of %d, %d, %d",
				    i, info.si_code, (int)info.si_pid,
				    info.si_value.sival_int, SI_QUEUE,
				    (int)getpid(), payload(i));
	}
	if (take_signal(REALTIME, &info))
		return fail(detail, "a real-time signal too many");
	return true;
}

static bool signal_check(char *detail)
{
	sigset_t set;

	if (sigpending(&set))
		return fail_errno(detail, "sigpending");
	if (sigismember(&set, STANDARD) != 1)
		return fail(detail, "the standard signal is not pending");
	if (sigismember(&set, REALTIME) != 1)
		return fail(detail, "the real-time signal is not pending");
	if (!take_signals(detail) || !send_signals(detail))
		return false;
	return pass(detail, "1 standard and 2 real-time signals");
}

static bool signal_damage(char *detail)
{
	siginfo_t info;

	if (!take_signal(REALTIME, &info))
		return fail(detail, "there is no signal to take");
	return true;
}

WITNESS = {
	.name = "signal",
	.kind = "process",
	.holds = "blocked signals that are pending, with values",
	.damages = "takes one of them",
	.order = ORDER_SIGNALS,
	.arm = signal_arm,
	.check = signal_check,
	.damage = signal_damage,
};
