// SPDX-License-Identifier: GPL-2.0-only
/* mq_timedreceive(2): a POSIX queue without a message. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <mqueue.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static mqd_t queue;

static int64_t block(void)
{
	unsigned int priority = 0;
	char bytes[16];

	if (mq_receive(queue, bytes, sizeof(bytes), &priority) != 3)
		return -1;
	return priority;
}

static bool wake(char *detail)
{
	if (mq_send(queue, "abc", 3, 21))
		return fail_errno(detail, "mq_send");
	return true;
}

static struct blocked blocked = {
	.number = SYS_mq_timedreceive,
	.block = block,
	.wake = wake,
	.expected = 21,
};

static void blocked_queue_arm(void)
{
	struct mq_attr attr = { .mq_maxmsg = 2, .mq_msgsize = 16 };
	char name[64];

	snprintf(name, sizeof(name), "/kspawn-blocked-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
	if (queue < 0)
		die_errno("mq_open");
	if (mq_unlink(name))
		die_errno("mq_unlink");
	blocked.keep[0] = queue;
	blocked_start(&blocked);
}

static bool blocked_queue_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_queue_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_queue_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-queue",
	.kind = "process",
	.holds = "a child that waits in mq_receive(3)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_queue_arm,
	.check = blocked_queue_check,
	.damage = blocked_queue_damage,
	.end = blocked_queue_end,
};
