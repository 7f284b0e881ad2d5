// SPDX-License-Identifier: GPL-2.0-only
/* epoll_wait(2): the set is made in the child. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int ends[2];

static int64_t block(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = epoll_create1(EPOLL_CLOEXEC), ready;
	char byte;

	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event))
		return -1;
	/* epoll_wait(2) is one of those that a stop may end: signal(7). */
	do
		ready = syscall(SYS_epoll_wait, set, &event, 1, -1);
	while (ready < 0 && errno == EINTR);
	close(set);
	return ready == 1 ? read(ends[0], &byte, 1) : -2;
}

static bool wake(char *detail)
{
	if (write(ends[1], "", 1) != 1)
		return fail_errno(detail, "write");
	return true;
}

static struct blocked blocked = {
	.number = SYS_epoll_wait,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_epoll_arm(void)
{
	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	blocked.keep[0] = ends[0];
	blocked_start(&blocked);
}

static bool blocked_epoll_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_epoll_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_epoll_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-epoll",
	.kind = "process",
	.holds = "a child that waits in epoll_wait(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_epoll_arm,
	.check = blocked_epoll_check,
	.damage = blocked_epoll_damage,
	.end = blocked_epoll_end,
};
