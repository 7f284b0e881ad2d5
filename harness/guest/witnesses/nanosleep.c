// SPDX-License-Identifier: GPL-2.0-only
/* A sleep: a signal ends it, and what was left is right; then it goes on. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct helper helper;

#define HOUR	(3600 * NSEC)

static struct sleeper {
	_Atomic uint32_t asked, answered;
	pid_t tid;
	int64_t left, until;
} sleeper;

static void wake(int number)
{
	(void)number;
}

static void *sleep_long(void *unused)
{
	int64_t left = HOUR;

	(void)unused;
	sleeper.tid = syscall(SYS_gettid);
	sleeper.until = now(CLOCK_MONOTONIC) + left;
	for (uint32_t turn = 0;; turn++) {
		struct timespec wanted = { left / NSEC, left % NSEC }, rest = { 0 };

		post(&sleeper.answered, turn + 1);
		while (atomic_load(&sleeper.asked) == turn)
			if (!nanosleep(&wanted, &rest))
				break;
		sleeper.left = rest.tv_sec * NSEC + rest.tv_nsec;
		left = sleeper.left;
	}
	return NULL;
}

static void nanosleep_prepare(struct helper_page *page)
{
	struct sigaction action = { .sa_handler = wake };
	pthread_t thread;

	(void)page;
	if (sigaction(SIGUSR2, &action, NULL) ||
	    pthread_create(&thread, NULL, sleep_long, NULL) ||
	    !wait_until(&sleeper.answered, 1))
		die("no thread that sleeps");
}

static bool nanosleep_serve(struct helper_page *page, int what, char *detail)
{
	uint32_t turn = atomic_load(&sleeper.asked) + 1;
	struct timespec nap = { .tv_nsec = 5000000 };
	int64_t expected;

	(void)page;
	if (what == HELPER_DAMAGE) {
		sleeper.until -= 1800 * NSEC;
		return true;
	}
	atomic_store(&sleeper.asked, turn);
	/* It may just be on its way into the sleep. */
	for (int i = 0; atomic_load(&sleeper.answered) != turn + 1; i++) {
		if (i == PATIENCE * 200)
			return fail(detail, "it does not wake");
		if (syscall(SYS_tgkill, getpid(), sleeper.tid, SIGUSR2))
			return fail_errno(detail, "tgkill");
		nanosleep(&nap, NULL);
	}
	expected = sleeper.until - now(CLOCK_MONOTONIC);
	if (llabs(sleeper.left - expected) > 2 * NSEC)
		return fail(detail, "%.3f s left instead of %.3f s",
			    sleeper.left / 1e9, expected / 1e9);
	return pass(detail, "%.3f s left", sleeper.left / 1e9);
}

static void nanosleep_arm(void)
{
	helper_start(&helper, nanosleep_prepare, nanosleep_serve);
}

static bool nanosleep_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool nanosleep_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "nanosleep",
	.kind = "time",
	.holds = "a sleep of an hour that is in progress",
	.damages = "makes it shorter",
	.order = ORDER_CHILDREN,
	.arm = nanosleep_arm,
	.check = nanosleep_check,
	.damage = nanosleep_damage,
};
