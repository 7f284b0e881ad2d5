// SPDX-License-Identifier: GPL-2.0-only
/* The clocks. */
#define _GNU_SOURCE
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static int64_t last_monotonic, last_boottime;

static void clock_arm(void)
{
	last_monotonic = now(CLOCK_MONOTONIC);
	last_boottime = now(CLOCK_BOOTTIME);
}

static bool clock_check(char *detail)
{
	int64_t monotonic = now(CLOCK_MONOTONIC);
	int64_t boottime = now(CLOCK_BOOTTIME);
	int64_t ran = monotonic - last_monotonic;
	int64_t passed = boottime - last_boottime;

	if (ran < 0)
		return fail(detail, "CLOCK_MONOTONIC ran back by %.3f s",
			    -ran / 1e9);
	if (passed < 0)
		return fail(detail, "CLOCK_BOOTTIME ran back by %.3f s",
			    -passed / 1e9);
	if (boottime < monotonic)
		return fail(detail,
			    "CLOCK_BOOTTIME %.3f s is less than CLOCK_MONOTONIC %.3f s",
			    boottime / 1e9, monotonic / 1e9);
	last_monotonic = monotonic;
	last_boottime = boottime;
	return pass(detail,
		    "CLOCK_MONOTONIC ran %.3f s, CLOCK_BOOTTIME %.3f s",
		    ran / 1e9, passed / 1e9);
}

static bool clock_damage(char *detail)
{
	(void)detail;
	last_monotonic += 3600 * NSEC;
	return true;
}

WITNESS = {
	.name = "clock",
	.kind = "time",
	.holds = "clocks that never run back",
	.damages = "moves the time that was seen last",
	.order = ORDER_MAIN,
	.arm = clock_arm,
	.check = clock_check,
	.damage = clock_damage,
};
