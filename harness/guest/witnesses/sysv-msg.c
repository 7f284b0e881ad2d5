// SPDX-License-Identifier: GPL-2.0-only
/* A SysV message queue: types, order and content of what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/msg.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define MESSAGES	4
#define BYTES		300

static int id = -1;

struct message {
	long type;
	char text[BYTES];
};

static bool send_message(char *detail, const struct message *message)
{
	if (msgsnd(id, message, BYTES, IPC_NOWAIT))
		return fail_errno(detail, "msgsnd");
	return true;
}

static void msg_arm(void)
{
	struct message message;
	char detail[DETAIL];

	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	if (id < 0 && errno == ENOSYS) {
		not_here("no SysV IPC");
		return;
	}
	if (id < 0)
		die_errno("msgget");
	for (int i = 0; i < MESSAGES; i++) {
		message.type = 10 + i % 2;
		fill(message.text, BYTES, salt("sysv-msg", i), 0);
		if (!send_message(detail, &message))
			die("%s", detail);
	}
}

static bool msg_check(char *detail)
{
	struct difference diff = { 0 };
	struct message message;
	struct msqid_ds ds;

	if (msgctl(id, IPC_STAT, &ds))
		return fail_errno(detail, "msgctl");
	if (ds.msg_qnum != MESSAGES)
		return fail(detail, "%lu messages instead of %d",
			    (unsigned long)ds.msg_qnum, MESSAGES);
	for (int i = 0; i < MESSAGES; i++) {
		if (msgrcv(id, &message, BYTES, 0, IPC_NOWAIT) != BYTES)
			return fail_errno(detail, "msgrcv");
		if (message.type != 10 + i % 2)
			return fail(detail, "message %d has the type %ld", i,
				    message.type);
		compare(&diff, message.text, BYTES, salt("sysv-msg", i), 0);
		if (!send_message(detail, &message))
			return false;
	}
	if (diff.differ)
		return fail_difference(detail, "a message", &diff);
	return pass(detail, "%d messages of two types", MESSAGES);
}

static bool msg_damage(char *detail)
{
	struct message message;

	for (int i = 0; i < MESSAGES; i++) {
		if (msgrcv(id, &message, BYTES, 0, IPC_NOWAIT) != BYTES)
			return fail_errno(detail, "msgrcv");
		message.text[200] ^= i == 1;
		if (!send_message(detail, &message))
			return false;
	}
	return true;
}

static void msg_end(void)
{
	if (id >= 0)
		msgctl(id, IPC_RMID, NULL);
}

WITNESS = {
	.name = "sysv-msg",
	.kind = "ipc",
	.holds = "messages in a SysV queue",
	.damages = "flips a bit of one",
	.order = ORDER_MAIN,
	.arm = msg_arm,
	.check = msg_check,
	.damage = msg_damage,
	.end = msg_end,
};
