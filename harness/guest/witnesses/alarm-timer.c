// SPDX-License-Identifier: GPL-2.0-only
/* CLOCK_BOOTTIME_ALARM: a timer that is to wake the machine. It is a hour ahead. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "report.h"
#include "signals.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

#define NUMBER		(SIGRTMIN + 6)
#define AHEAD		(3600 * NSEC)
#define TOLERANCE	(2 * NSEC)

static timer_t timer;
static int64_t expires;

static bool set_timer(int64_t when)
{
	struct itimerspec spec = {
		.it_value = { .tv_sec = when / NSEC, .tv_nsec = when % NSEC },
	};

	return !timer_settime(timer, TIMER_ABSTIME, &spec, NULL);
}

static void alarm_timer_arm(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = NUMBER,
	};

	block_signal(NUMBER);
	if (timer_create(CLOCK_BOOTTIME_ALARM, &event, &timer)) {
		not_here("no RTC that can wake, or no right: %s",
			 strerror(errno));
		return;
	}
	expires = now(CLOCK_BOOTTIME) + AHEAD;
	if (!set_timer(expires))
		die_errno("timer_settime");
}

static bool alarm_timer_check(char *detail)
{
	struct itimerspec spec;
	siginfo_t info;
	int64_t left, wanted;

	if (take_signal(NUMBER, &info)) {
		if (now(CLOCK_BOOTTIME) < expires)
			return fail(detail, "its signal came too early");
		expires = now(CLOCK_BOOTTIME) + AHEAD;
		return set_timer(expires) ? pass(detail, "it has expired") :
		       fail_errno(detail, "timer_settime");
	}
	if (timer_gettime(timer, &spec))
		return fail_errno(detail, "timer_gettime");
	left = spec.it_value.tv_sec * NSEC + spec.it_value.tv_nsec;
	wanted = expires - now(CLOCK_BOOTTIME);
	if (left > wanted + TOLERANCE || left < wanted - TOLERANCE)
		return fail(detail, "%.3f s left instead of %.3f s",
			    left / 1e9, wanted / 1e9);
	return pass(detail, "%.3f s left", left / 1e9);
}

static bool alarm_timer_damage(char *detail)
{
	if (!set_timer(now(CLOCK_BOOTTIME) + AHEAD / 2))
		return fail_errno(detail, "timer_settime");
	return true;
}

WITNESS = {
	.name = "alarm-timer",
	.kind = "time",
	.holds = "a timer that would wake the machine, an hour ahead",
	.damages = "sets it to half an hour",
	.order = ORDER_SIGNALS,
	.arm = alarm_timer_arm,
	.check = alarm_timer_check,
	.damage = alarm_timer_damage,
};
