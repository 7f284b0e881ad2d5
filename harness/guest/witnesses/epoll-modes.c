// SPDX-License-Identifier: GPL-2.0-only
/* epoll: an edge that was seen, a oneshot that was spent, and a set in a set. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int inner, outer, edge[2], oneshot[2];

static void watch(int set, int fd, unsigned int events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event))
		die_errno("epoll_ctl");
}

static int ready(int set)
{
	struct epoll_event events[4];
	int n;

	do
		n = epoll_wait(set, events, 4, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

static void modes_arm(void)
{
	inner = epoll_create1(EPOLL_CLOEXEC);
	outer = epoll_create1(EPOLL_CLOEXEC);
	if (inner < 0 || outer < 0 || pipe2(edge, O_NONBLOCK | O_CLOEXEC) ||
	    pipe2(oneshot, O_NONBLOCK | O_CLOEXEC))
		die_errno("epoll_create");
	watch(inner, edge[0], EPOLLIN | EPOLLET);
	watch(inner, oneshot[0], EPOLLIN | EPOLLONESHOT);
	watch(outer, inner, EPOLLIN);
	if (write(edge[1], "a", 1) != 1 || write(oneshot[1], "b", 1) != 1)
		die_errno("write");
	if (ready(outer) != 1 || ready(inner) != 2)
		die("the sets do not see what is written");
}

static bool modes_check(char *detail)
{
	char c;

	if (ready(inner) || ready(outer))
		return fail(detail, "%d and %d are ready: what was seen is seen again",
			    ready(inner), ready(outer));
	/* A new edge is seen in both sets, a new byte of the other is not. */
	if (!put_bytes(detail, edge[1], "a", 1) ||
	    !put_bytes(detail, oneshot[1], "b", 1))
		return false;
	if (ready(outer) != 1)
		return fail(detail, "the outer set does not see the edge");
	if (ready(inner) != 1)
		return fail(detail, "the inner set does not see just the edge");
	return get_bytes(detail, edge[0], &c, 1) &&
	       get_bytes(detail, oneshot[0], &c, 1) &&
	       pass(detail, "an edge, a oneshot, a set in a set");
}

static bool modes_damage(char *detail)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };

	if (epoll_ctl(inner, EPOLL_CTL_MOD, oneshot[0], &event))
		return fail_errno(detail, "epoll_ctl");
	return true;
}

WITNESS = {
	.name = "epoll-modes",
	.kind = "ipc",
	.holds = "edge, oneshot and nested epoll sets",
	.damages = "arms what was spent",
	.order = ORDER_MAIN,
	.arm = modes_arm,
	.check = modes_check,
	.damage = modes_damage,
};
