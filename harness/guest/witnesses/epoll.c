// SPDX-License-Identifier: GPL-2.0-only
/* epoll: a pipe is ready, and another one, which is empty, is not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int epoll_fd, ready_fds[2], idle_fds[2];

static void epoll_watch(int fd, unsigned int index)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = value_of(salt("epoll", index)),
	};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die_errno("epoll_ctl");
}

static void epoll_arm(void)
{
	char c = 0;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die_errno("epoll_create");
	if (pipe2(ready_fds, O_NONBLOCK | O_CLOEXEC) ||
	    pipe2(idle_fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	if (write(ready_fds[1], &c, 1) != 1)
		die_errno("write");
	epoll_watch(ready_fds[0], 0);
	epoll_watch(idle_fds[0], 1);
}

static bool epoll_ready(char *detail, int count, unsigned int index)
{
	struct epoll_event events[2];
	bool found = false;
	int n;

	do
		n = epoll_wait(epoll_fd, events, 2, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_errno(detail, "epoll_wait");
	if (n != count)
		return fail(detail, "%d files are ready instead of %d", n,
			    count);
	for (int i = 0; i < n; i++) {
		if (events[i].events != EPOLLIN)
			return fail(detail, "events 0x%x instead of 0x%x",
				    events[i].events, EPOLLIN);
		found |= events[i].data.u64 == value_of(salt("epoll", index));
	}
	return found ? true : fail(detail, "the data of the event is wrong");
}

static bool epoll_check(char *detail)
{
	char c = 0;

	if (!epoll_ready(detail, 1, 0))
		return false;
	/* It must still learn of what happens to the idle pipe. */
	if (!put_bytes(detail, idle_fds[1], &c, 1) ||
	    !epoll_ready(detail, 2, 1) ||
	    !get_bytes(detail, idle_fds[0], &c, 1) ||
	    !epoll_ready(detail, 1, 0))
		return false;
	return pass(detail, "a pipe that is ready and one that is not");
}

static bool epoll_damage(char *detail)
{
	if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, ready_fds[0], NULL))
		return fail_errno(detail, "epoll_ctl");
	return true;
}

WITNESS = {
	.name = "epoll",
	.kind = "ipc",
	.holds = "an epoll set: one pipe ready, one not",
	.damages = "removes a pipe from the set",
	.order = ORDER_MAIN,
	.arm = epoll_arm,
	.check = epoll_check,
	.damage = epoll_damage,
};
