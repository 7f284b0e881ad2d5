// SPDX-License-Identifier: GPL-2.0-only
/* POSIX message queue: messages that were not received, by their priority. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define MESSAGES	3

static mqd_t queue;

/* The highest priority comes first, whatever was sent first. */
static bool put(int i)
{
	char bytes[64];

	fill(bytes, sizeof(bytes), salt("posix-mq", i), 0);
	return !mq_send(queue, bytes, sizeof(bytes), 10 + i);
}

static void posix_mq_arm(void)
{
	struct mq_attr attr = { .mq_maxmsg = MESSAGES, .mq_msgsize = 64 };
	char name[64];

	snprintf(name, sizeof(name), "/kspawn-mq-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC,
			0600, &attr);
	if (queue < 0)
		die_errno("mq_open");
	if (mq_unlink(name))
		die_errno("mq_unlink");
	for (int i = 0; i < MESSAGES; i++)
		if (!put(i))
			die_errno("mq_send");
}

static bool posix_mq_check(char *detail)
{
	for (int i = MESSAGES - 1; i >= 0; i--) {
		struct difference diff = { 0 };
		unsigned int priority = 0;
		char bytes[64];

		if (mq_receive(queue, bytes, sizeof(bytes), &priority) != 64)
			return fail_errno(detail, "mq_receive");
		if (priority != 10U + i)
			return fail(detail, "priority %u instead of %u",
				    priority, 10U + i);
		compare(&diff, bytes, sizeof(bytes), salt("posix-mq", i), 0);
		if (diff.differ)
			return fail_difference(detail, "a message", &diff);
	}
	for (int i = 0; i < MESSAGES; i++)
		if (!put(i))
			return fail_errno(detail, "mq_send");
	return pass(detail, "%d messages", MESSAGES);
}

static bool posix_mq_damage(char *detail)
{
	char bytes[64];

	if (mq_receive(queue, bytes, sizeof(bytes), NULL) < 0)
		return fail_errno(detail, "mq_receive");
	return true;
}

WITNESS = {
	.name = "posix-mq",
	.kind = "ipc",
	.holds = "messages in a POSIX queue, by priority",
	.damages = "takes the first",
	.order = ORDER_MAIN,
	.arm = posix_mq_arm,
	.check = posix_mq_check,
	.damage = posix_mq_damage,
};
