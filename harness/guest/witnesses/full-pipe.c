// SPDX-License-Identifier: GPL-2.0-only
/* A pipe that is full: nothing goes in before something comes out. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(4 * PAGE)

static int fds[2];

static void full_arm(void)
{
	static char buffer[BYTES];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	if (fcntl(fds[1], F_SETPIPE_SZ, BYTES) != (int)BYTES) {
		not_here("F_SETPIPE_SZ: %s", strerror(errno));
		return;
	}
	fill(buffer, BYTES, salt("full-pipe", 0), 0);
	if (write(fds[1], buffer, BYTES) != (ssize_t)BYTES)
		die_errno("write");
}

static bool full_check(char *detail)
{
	static char buffer[BYTES];
	struct difference diff = { 0 };

	if (fcntl(fds[1], F_GETPIPE_SZ) != (int)BYTES)
		return fail(detail, "it has the size %d",
			    fcntl(fds[1], F_GETPIPE_SZ));
	if (write(fds[1], "x", 1) != -1 || errno != EAGAIN)
		return fail(detail, "there is room in it");
	if (!in_flight(detail, fds[0], BYTES) ||
	    !get_bytes(detail, fds[0], buffer, BYTES) ||
	    !put_bytes(detail, fds[1], buffer, BYTES))
		return false;
	compare(&diff, buffer, BYTES, salt("full-pipe", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "read", &diff);
	return pass(detail, "%lu bytes, and no room", BYTES);
}

static bool full_damage(char *detail)
{
	char page[PAGE];

	return get_bytes(detail, fds[0], page, PAGE);
}

WITNESS = {
	.name = "full-pipe",
	.kind = "ipc",
	.holds = "a pipe of another size, filled to the last byte",
	.damages = "takes a page out of it",
	.order = ORDER_MAIN,
	.arm = full_arm,
	.check = full_check,
	.damage = full_damage,
};
