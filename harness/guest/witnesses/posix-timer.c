// SPDX-License-Identifier: GPL-2.0-only
/* A POSIX timer that sends a signal in an hour. */
#define _GNU_SOURCE
#include <signal.h>
#include <time.h>

#include "hour.h"
#include "report.h"
#include "signals.h"
#include "types.h"
#include "witness.h"

#define TIMER		(SIGRTMIN + 1)

static timer_t posix_timer;
static struct alarm posix_alarm;

static bool set_timer(char *detail)
{
	struct itimerspec spec = in_an_hour(&posix_alarm);

	if (timer_settime(posix_timer, TIMER_ABSTIME, &spec, NULL))
		return fail_errno(detail, "timer_settime");
	return true;
}

static void posix_timer_arm(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = TIMER,
	};
	char detail[DETAIL];

	block_signal(TIMER);
	if (timer_create(CLOCK_MONOTONIC, &event, &posix_timer))
		die_errno("timer_create");
	if (!set_timer(detail))
		die("%s", detail);
}

static bool posix_timer_check(char *detail)
{
	struct itimerspec spec;
	siginfo_t info;

	if (timer_gettime(posix_timer, &spec))
		return fail_errno(detail, "timer_gettime");
	if (take_signal(TIMER, &info))
		return fail(detail, "its signal came");
	return check_alarm(detail, &posix_alarm, &spec) &&
	       set_timer(detail);
}

static bool posix_timer_damage(char *detail)
{
	struct itimerspec spec = { .it_value.tv_sec = 1800 };

	if (timer_settime(posix_timer, 0, &spec, NULL))
		return fail_errno(detail, "timer_settime");
	return true;
}

WITNESS = {
	.name = "posix-timer",
	.kind = "time",
	.holds = "a POSIX timer an hour ahead",
	.damages = "sets it to half an hour",
	.order = ORDER_SIGNALS,
	.arm = posix_timer_arm,
	.check = posix_timer_check,
	.damage = posix_timer_damage,
};
