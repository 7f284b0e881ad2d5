// SPDX-License-Identifier: GPL-2.0-only
/* Timers an hour ahead. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "hour.h"
#include "report.h"
#include "types.h"
#include "waiting.h"

#define HOUR		(3600 * NSEC)
#define TOLERANCE	(2 * NSEC)

static int64_t nanoseconds(const struct timespec *ts)
{
	return ts->tv_sec * NSEC + ts->tv_nsec;
}

struct itimerspec in_an_hour(struct alarm *alarm)
{
	struct itimerspec spec = { 0 };

	alarm->expires = now(CLOCK_MONOTONIC) + HOUR;
	alarm->left = HOUR;
	spec.it_value.tv_sec = alarm->expires / NSEC;
	spec.it_value.tv_nsec = alarm->expires % NSEC;
	return spec;
}

bool check_alarm(char *detail, const struct alarm *alarm,
		 const struct itimerspec *spec)
{
	int64_t left = nanoseconds(&spec->it_value);
	int64_t expected = alarm->expires - now(CLOCK_MONOTONIC);

	if (left <= 0)
		return fail(detail, "it is not armed any more");
	if (left > alarm->left)
		return fail(detail, "%.3f s left, which is more than before: %.3f s",
			    left / 1e9, alarm->left / 1e9);
	if (llabs(left - expected) > TOLERANCE)
		return fail(detail, "%.3f s left instead of %.3f s", left / 1e9,
			    expected / 1e9);
	if (nanoseconds(&spec->it_interval))
		return fail(detail, "it has an interval");
	return pass(detail, "%.3f s left of %.3f s", left / 1e9,
		    alarm->left / 1e9);
}
