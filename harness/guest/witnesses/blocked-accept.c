// SPDX-License-Identifier: GPL-2.0-only
/* accept(2): a connection that comes later. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct sockaddr_in in;
static int listening;

static int64_t block(void)
{
	int got = syscall(SYS_accept4, listening, NULL, NULL, SOCK_CLOEXEC);

	if (got >= 0)
		close(got);
	return got >= 0;
}

static bool wake(char *detail)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good = fd >= 0 &&
		    !connect(fd, (struct sockaddr *)&in, sizeof(in));

	if (!good)
		fail_errno(detail, "connect");
	if (fd >= 0)
		close(fd);
	return good;
}

static struct blocked blocked = {
	.number = SYS_accept4,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_accept_arm(void)
{
	socklen_t length = sizeof(in);

	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listening < 0 ||
	    bind(listening, (struct sockaddr *)&in, sizeof(in)) ||
	    getsockname(listening, (struct sockaddr *)&in, &length) ||
	    listen(listening, 4))
		die_errno("listen");
	blocked.keep[0] = listening;
	blocked_start(&blocked);
}

static bool blocked_accept_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_accept_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_accept_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-accept",
	.kind = "process",
	.holds = "a child that waits in accept(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_accept_arm,
	.check = blocked_accept_check,
	.damage = blocked_accept_damage,
	.end = blocked_accept_end,
};
