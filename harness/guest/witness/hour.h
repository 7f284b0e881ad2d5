/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Timers an hour ahead, set anew by each check. They follow CLOCK_MONOTONIC,
 * which stands still during hibernation.
 */
#ifndef HOUR_H
#define HOUR_H

#include "types.h"

#include <time.h>

struct alarm {
	int64_t expires;	/* by CLOCK_MONOTONIC */
	int64_t left;		/* when it was last looked at */
};

struct itimerspec in_an_hour(struct alarm *alarm);
bool check_alarm(char *detail, const struct alarm *alarm,
		 const struct itimerspec *spec);

#endif
