// SPDX-License-Identifier: GPL-2.0-only
/* read(2) of an empty pipe: goes on as if nothing had been. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int ends[2];

static int64_t block(void)
{
	char byte;

	return read(ends[0], &byte, 1);
}

static bool wake(char *detail)
{
	if (write(ends[1], "", 1) != 1)
		return fail_errno(detail, "write");
	return true;
}

static struct blocked blocked = {
	.number = SYS_read,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_read_arm(void)
{
	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	blocked.keep[0] = ends[0];
	blocked_start(&blocked);
}

static bool blocked_read_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_read_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_read_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-read",
	.kind = "process",
	.holds = "a child that waits in read(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_read_arm,
	.check = blocked_read_check,
	.damage = blocked_read_damage,
	.end = blocked_read_end,
};
