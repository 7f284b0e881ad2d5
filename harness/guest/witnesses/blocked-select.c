// SPDX-License-Identifier: GPL-2.0-only
/* pselect(2) with a signal mask, and without an end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int ends[2];

static int64_t block(void)
{
	sigset_t none;
	fd_set set;
	char byte;

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	if (pselect(ends[0] + 1, &set, NULL, NULL, NULL, &none) != 1)
		return -1;
	return read(ends[0], &byte, 1);
}

static bool wake(char *detail)
{
	if (write(ends[1], "", 1) != 1)
		return fail_errno(detail, "write");
	return true;
}

static struct blocked blocked = {
	.number = SYS_pselect6,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_select_arm(void)
{
	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	blocked.keep[0] = ends[0];
	blocked_start(&blocked);
}

static bool blocked_select_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_select_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_select_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-select",
	.kind = "process",
	.holds = "a child that waits in pselect(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_select_arm,
	.check = blocked_select_check,
	.damage = blocked_select_damage,
	.end = blocked_select_end,
};
