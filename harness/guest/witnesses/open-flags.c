// SPDX-License-Identifier: GPL-2.0-only
/* What fcntl(2) knows of an open file, and that two descriptors share it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define FLAGS	(O_RDWR | O_APPEND | O_NONBLOCK)

static int fd, twin;

static void flags_arm(void)
{
	fd = create_file("flags");
	unlink_file("flags");
	if (fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK) ||
	    fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGWINCH))
		die_errno("fcntl");
	twin = fcntl(fd, F_DUPFD, 100);
	if (twin < 100)
		die_errno("F_DUPFD");
	if (pwrite(fd, "abc", 3, 0) != 3 || lseek(fd, 2, SEEK_SET) != 2)
		die_errno("pwrite");
}

static bool flags_check(char *detail)
{
	int flags = fcntl(twin, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK);

	if (flags != FLAGS)
		return fail(detail, "flags 0x%x instead of 0x%x", flags, FLAGS);
	if (fcntl(twin, F_GETOWN) != getpid() ||
	    fcntl(twin, F_GETSIG) != SIGWINCH)
		return fail(detail, "owner %d, signal %d", fcntl(twin, F_GETOWN),
			    fcntl(twin, F_GETSIG));
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || fcntl(twin, F_GETFD))
		return fail(detail, "other flags of the descriptors");
	if (lseek(twin, 0, SEEK_CUR) != 2 || lseek(fd, 0, SEEK_CUR) != 2)
		return fail(detail, "offsets %lld and %lld",
			    (long long)lseek(twin, 0, SEEK_CUR),
			    (long long)lseek(fd, 0, SEEK_CUR));
	return pass(detail, "flags 0x%x, offset, owner, signal", flags);
}

static bool flags_damage(char *detail)
{
	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		return fail_errno(detail, "F_SETFL");
	return true;
}

WITNESS = {
	.name = "open-flags",
	.kind = "files",
	.holds = "flags of an open file, shared by two descriptors",
	.damages = "changes a flag",
	.order = ORDER_MAIN,
	.arm = flags_arm,
	.check = flags_check,
	.damage = flags_damage,
};
