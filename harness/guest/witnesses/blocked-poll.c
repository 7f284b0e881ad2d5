// SPDX-License-Identifier: GPL-2.0-only
/* poll(2) with a timeout: it goes on for the rest of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int ends[2];

static int64_t block(void)
{
	struct pollfd one = { .fd = ends[0], .events = POLLIN };
	char byte;
	int ready = syscall(SYS_poll, &one, 1, 86400000);

	return ready == 1 && read(ends[0], &byte, 1) == 1 ? 1 : -1;
}

static bool wake(char *detail)
{
	if (write(ends[1], "", 1) != 1)
		return fail_errno(detail, "write");
	return true;
}

static struct blocked blocked = {
	.number = SYS_poll,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_poll_arm(void)
{
	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	blocked.keep[0] = ends[0];
	blocked_start(&blocked);
}

static bool blocked_poll_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_poll_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_poll_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-poll",
	.kind = "process",
	.holds = "a child that waits in poll(2), for a day",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_poll_arm,
	.check = blocked_poll_check,
	.damage = blocked_poll_damage,
	.end = blocked_poll_end,
};
