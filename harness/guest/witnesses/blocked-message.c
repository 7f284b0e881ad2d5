// SPDX-License-Identifier: GPL-2.0-only
/* msgrcv(2): a message of a type that has not come. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/syscall.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int id = -1;

static int64_t block(void)
{
	struct { long type; char text[4]; } message;
	ssize_t got;

	/* It is one of those that a stop may end: signal(7). */
	do
		got = msgrcv(id, &message, 4, 9, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

static bool wake(char *detail)
{
	const struct { long type; char text[4]; } message = { 9, "abc" };

	if (msgsnd(id, &message, 4, IPC_NOWAIT))
		return fail_errno(detail, "msgsnd");
	return true;
}

static struct blocked blocked = {
	.number = SYS_msgrcv,
	.block = block,
	.wake = wake,
	.expected = 4,
};

static void blocked_message_arm(void)
{
	id = msgget(IPC_PRIVATE, 0600);
	if (id < 0)
		die_errno("msgget");
	blocked_start(&blocked);
}

static bool blocked_message_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_message_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_message_end(void)
{
	blocked_end(&blocked);
	if (id >= 0)
		msgctl(id, IPC_RMID, NULL);
	id = -1;
}

WITNESS = {
	.name = "blocked-message",
	.kind = "process",
	.holds = "a child that waits in msgrcv(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_message_arm,
	.check = blocked_message_check,
	.damage = blocked_message_damage,
	.end = blocked_message_end,
};
