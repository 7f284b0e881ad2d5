// SPDX-License-Identifier: GPL-2.0-only
/* read(2) of an eventfd that is zero. */
#define _GNU_SOURCE
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int fd;

static int64_t block(void)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ?
	       (int64_t)count : -1;
}

static bool wake(char *detail)
{
	uint64_t count = 7;

	if (write(fd, &count, sizeof(count)) != sizeof(count))
		return fail_errno(detail, "write");
	return true;
}

static struct blocked blocked = {
	.number = SYS_read,
	.block = block,
	.wake = wake,
	.expected = 7,
};

static void blocked_eventfd_arm(void)
{
	fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0)
		die_errno("eventfd");
	blocked.keep[0] = fd;
	blocked_start(&blocked);
}

static bool blocked_eventfd_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_eventfd_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_eventfd_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-eventfd",
	.kind = "process",
	.holds = "a child that waits for an eventfd",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_eventfd_arm,
	.check = blocked_eventfd_check,
	.damage = blocked_eventfd_damage,
	.end = blocked_eventfd_end,
};
