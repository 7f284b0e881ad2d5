// SPDX-License-Identifier: GPL-2.0-only
/* A pidfd: of that child, which has not ended. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;
static int fd = -1;

static void pidfd_prepare(struct helper_page *page)
{
	(void)page;
}

static bool pidfd_serve(struct helper_page *page, int what, char *detail)
{
	(void)page;
	(void)what;
	return pass(detail, "it answers");
}

static void pidfd_arm(void)
{
	helper_start(&helper, pidfd_prepare, pidfd_serve);
	fd = syscall(SYS_pidfd_open, helper.pid, 0);
	if (fd < 0)
		not_here("pidfd_open: %s", strerror(errno));
}

static bool pidfd_check(char *detail)
{
	struct pollfd ended = { .fd = fd, .events = POLLIN };

	if (poll(&ended, 1, 0))
		return fail(detail, "its process has ended");
	if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0))
		return fail_errno(detail, "pidfd_send_signal");
	if (!helper_ask(detail, &helper, HELPER_CHECK))
		return false;
	return pass(detail, "of process %d", (int)helper.pid);
}

static bool pidfd_damage(char *detail)
{
	(void)detail;
	helper_end(&helper);
	return true;
}

WITNESS = {
	.name = "pidfd",
	.kind = "process",
	.holds = "a pidfd of a child that lives",
	.damages = "ends the child",
	.order = ORDER_CHILDREN,
	.arm = pidfd_arm,
	.check = pidfd_check,
	.damage = pidfd_damage,
};
