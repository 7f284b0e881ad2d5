// SPDX-License-Identifier: GPL-2.0-only
/* recv(2) of a unix socket that has nothing. */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int pair[2];

static int64_t block(void)
{
	char bytes[8];

	return recv(pair[0], bytes, sizeof(bytes), 0);
}

static bool wake(char *detail)
{
	if (send(pair[1], "12345", 5, MSG_DONTWAIT) != 5)
		return fail_errno(detail, "send");
	return true;
}

static struct blocked blocked = {
	.number = SYS_recvfrom,
	.block = block,
	.wake = wake,
	.expected = 5,
};

static void blocked_receive_arm(void)
{
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
		die_errno("socketpair");
	blocked.keep[0] = pair[0];
	blocked_start(&blocked);
}

static bool blocked_receive_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_receive_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_receive_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-receive",
	.kind = "process",
	.holds = "a child that waits in recvfrom(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_receive_arm,
	.check = blocked_receive_check,
	.damage = blocked_receive_damage,
	.end = blocked_receive_end,
};
