// SPDX-License-Identifier: GPL-2.0-only
/* The three timers of setitimer(2), in a process that does nothing. */
#define _GNU_SOURCE
#include <sys/time.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct helper helper;

#define DAY	86400

static const int timers[] = { ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF };

static void timers_prepare(struct helper_page *page)
{
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
		struct itimerval value = {
			.it_value.tv_sec = DAY,
			.it_interval.tv_sec = 100 + i,
		};

		if (setitimer(timers[i], &value, NULL))
			die_errno("setitimer");
	}
	page->value[0] = now(CLOCK_MONOTONIC);
}

static bool timers_serve(struct helper_page *page, int what, char *detail)
{
	struct itimerval value = { 0 };
	int64_t passed = now(CLOCK_MONOTONIC) - page->value[0];

	if (what == HELPER_DAMAGE) {
		if (setitimer(ITIMER_PROF, &value, NULL))
			return fail_errno(detail, "setitimer");
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
		int64_t ran;

		if (getitimer(timers[i], &value))
			return fail_errno(detail, "getitimer");
		if (value.it_interval.tv_sec != 100 + (long)i)
			return fail(detail, "timer %zu has the interval %ld", i,
				    (long)value.it_interval.tv_sec);
		ran = DAY * NSEC - value.it_value.tv_sec * NSEC -
		      value.it_value.tv_usec * 1000;
		/* That of the process's own time has hardly run. */
		if (ran < -NSEC || ran > passed + 2 * NSEC ||
		    (!i && ran < passed - 2 * NSEC))
			return fail(detail, "timer %zu ran %.3f s, of %.3f s", i,
				    ran / 1e9, passed / 1e9);
	}
	return pass(detail, "3 timers");
}

static void timers_arm(void)
{
	helper_start(&helper, timers_prepare, timers_serve);
}

static bool timers_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool timers_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "interval-timers",
	.kind = "time",
	.holds = "the three interval timers, a day ahead",
	.damages = "disarms one",
	.order = ORDER_CHILDREN,
	.arm = timers_arm,
	.check = timers_check,
	.damage = timers_damage,
};
