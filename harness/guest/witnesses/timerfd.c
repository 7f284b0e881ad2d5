// SPDX-License-Identifier: GPL-2.0-only
/* A timerfd that expires in an hour. */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/timerfd.h>

#include "hour.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int timer_fd;
static struct alarm timerfd_alarm;

static bool set_timerfd(char *detail)
{
	struct itimerspec spec = in_an_hour(&timerfd_alarm);

	if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &spec, NULL))
		return fail_errno(detail, "timerfd_settime");
	return true;
}

static void timerfd_arm(void)
{
	char detail[DETAIL];

	timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (timer_fd < 0)
		die_errno("timerfd_create");
	if (!set_timerfd(detail))
		die("%s", detail);
}

static bool timerfd_check(char *detail)
{
	struct pollfd ready = { .fd = timer_fd, .events = POLLIN };
	struct itimerspec spec;
	int n = poll(&ready, 1, 0);

	if (n < 0)
		return fail_errno(detail, "poll");
	if (n)
		return fail(detail, "it has expired");
	if (timerfd_gettime(timer_fd, &spec))
		return fail_errno(detail, "timerfd_gettime");
	return check_alarm(detail, &timerfd_alarm, &spec) &&
	       set_timerfd(detail);
}

static bool timerfd_damage(char *detail)
{
	struct itimerspec spec = { 0 };

	if (timerfd_settime(timer_fd, 0, &spec, NULL))
		return fail_errno(detail, "timerfd_settime");
	return true;
}

WITNESS = {
	.name = "timerfd",
	.kind = "time",
	.holds = "a timerfd an hour ahead",
	.damages = "disarms it",
	.order = ORDER_MAIN,
	.arm = timerfd_arm,
	.check = timerfd_check,
	.damage = timerfd_damage,
};
