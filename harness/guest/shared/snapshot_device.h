/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/snapshot, as Documentation/power/userland-swsusp.rst has it: what the
 * programs that feed it share.
 */
#ifndef SNAPSHOT_DEVICE_H
#define SNAPSHOT_DEVICE_H

#include <errno.h>
#include <linux/suspend_ioctls.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "failure.h"
#include "types.h"

#define SNAPSHOT_DEVICE		"/dev/snapshot"

/* A page a write: one that crosses a page is cut there by the kernel. */
static inline int snapshot_put(int fd, const void *page)
{
	ssize_t n;

	do
		n = write(fd, page, PAGE);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)PAGE)
		return 0;
	if (n < 0)
		return fail_errno(errno == ENOMEM ? "no-memory" : "refused",
				  "write to " SNAPSHOT_DEVICE);
	return fail("refused", SNAPSHOT_DEVICE " took %zd bytes of a page", n);
}

#endif
