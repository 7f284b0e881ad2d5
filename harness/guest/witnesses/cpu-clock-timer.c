// SPDX-License-Identifier: GPL-2.0-only
/* A timer that follows the CPU time of the process, an hour of it ahead. */
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

#define NUMBER	(SIGRTMIN + 7)
#define AHEAD	3600

static timer_t timer;
static int64_t expires;

static void cpu_clock_timer_arm(void)
{
	struct itimerspec spec = { .it_value.tv_sec = AHEAD };
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = NUMBER,
	};

	block_signal(NUMBER);
	if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer))
		die_errno("timer_create");
	expires = now(CLOCK_PROCESS_CPUTIME_ID) + AHEAD * NSEC;
	if (timer_settime(timer, 0, &spec, NULL))
		die_errno("timer_settime");
}

static bool cpu_clock_timer_check(char *detail)
{
	struct itimerspec spec;
	siginfo_t info;
	int64_t left, wanted;

	if (take_signal(NUMBER, &info))
		return fail(detail, "its signal came");
	if (timer_gettime(timer, &spec))
		return fail_errno(detail, "timer_gettime");
	left = spec.it_value.tv_sec * NSEC + spec.it_value.tv_nsec;
	wanted = expires - now(CLOCK_PROCESS_CPUTIME_ID);
	if (left < wanted - 5 * NSEC || left > wanted + 5 * NSEC)
		return fail(detail, "%.3f s left instead of %.3f s",
			    left / 1e9, wanted / 1e9);
	return pass(detail, "%.3f s left", left / 1e9);
}

static bool cpu_clock_timer_damage(char *detail)
{
	struct itimerspec spec = { 0 };

	if (timer_settime(timer, 0, &spec, NULL))
		return fail_errno(detail, "timer_settime");
	return true;
}

WITNESS = {
	.name = "cpu-clock-timer",
	.kind = "time",
	.holds = "a timer of the CPU time of the process",
	.damages = "disarms it",
	.order = ORDER_SIGNALS,
	.arm = cpu_clock_timer_arm,
	.check = cpu_clock_timer_check,
	.damage = cpu_clock_timer_damage,
};
