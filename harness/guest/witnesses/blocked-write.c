// SPDX-License-Identifier: GPL-2.0-only
/* write(2) to a full pipe. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int ends[2];
static char first[PAGE];

static int64_t block(void)
{
	char page[PAGE];

	memset(page, 'w', sizeof(page));
	return write(ends[1], page, sizeof(page));
}

static bool wake(char *detail)
{
	char page[PAGE];

	if (read(ends[0], page, sizeof(page)) != sizeof(page))
		return fail_errno(detail, "read");
	return true;
}

static struct blocked blocked = {
	.number = SYS_write,
	.block = block,
	.wake = wake,
	.expected = PAGE,
};

static void blocked_write_arm(void)
{
	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	if (fcntl(ends[1], F_SETPIPE_SZ, PAGE) < 0 ||
	    write(ends[1], first, sizeof(first)) != sizeof(first))
		die_errno("a full pipe");
	blocked.keep[0] = ends[1];
	blocked_start(&blocked);
}

static bool blocked_write_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_write_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_write_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-write",
	.kind = "process",
	.holds = "a child that waits in write(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_write_arm,
	.check = blocked_write_check,
	.damage = blocked_write_damage,
	.end = blocked_write_end,
};
