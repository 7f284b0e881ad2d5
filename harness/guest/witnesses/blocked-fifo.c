// SPDX-License-Identifier: GPL-2.0-only
/* open(2) of a FIFO that has no writer. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

static char path[PATH_MAX];

static int64_t block(void)
{
	int fd = syscall(SYS_open, path, O_RDONLY);
	char byte;
	int64_t got;

	if (fd < 0)
		return -errno;
	/* Until the writer has gone: the next open is to wait again. */
	got = read(fd, &byte, 1);
	if (read(fd, &byte, 1))
		got = -1;
	close(fd);
	return got;
}

static bool wake(char *detail)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, "", 1) == 1;

	if (!good)
		fail_errno(detail, "the FIFO");
	if (fd >= 0)
		close(fd);
	return good;
}

static struct blocked blocked = {
	.number = SYS_open,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_fifo_arm(void)
{
	file_name(path, "blocked-fifo");
	if (mkfifo(path, 0600))
		die_errno("mkfifo");
	blocked_start(&blocked);
}

static bool blocked_fifo_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_fifo_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_fifo_end(void)
{
	blocked_end(&blocked);
	/* It may be called twice: once more where a witness dies. */
	if (path[0])
		unlink(path);
	path[0] = 0;
}

WITNESS = {
	.name = "blocked-fifo",
	.kind = "process",
	.holds = "a child that waits in open(2) of a FIFO",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_fifo_arm,
	.check = blocked_fifo_check,
	.damage = blocked_fifo_damage,
	.end = blocked_fifo_end,
};
