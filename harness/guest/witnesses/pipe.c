// SPDX-License-Identifier: GPL-2.0-only
/* A pipe with bytes that nobody has read. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define PIPE_BYTES	1501

static int pipe_fds[2];

static void pipe_arm(void)
{
	char buffer[PIPE_BYTES], detail[DETAIL];

	if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	fill(buffer, PIPE_BYTES, salt("pipe", 0), 0);
	if (!put_bytes(detail, pipe_fds[1], buffer, PIPE_BYTES))
		die("%s", detail);
}

static bool pipe_check(char *detail)
{
	if (!check_bytes(detail, pipe_fds[0], pipe_fds[1], PIPE_BYTES,
			 salt("pipe", 0)))
		return false;
	return pass(detail, "%d bytes in flight", PIPE_BYTES);
}

static bool pipe_damage(char *detail)
{
	return damage_bytes(detail, pipe_fds[0], pipe_fds[1], PIPE_BYTES);
}

WITNESS = {
	.name = "pipe",
	.kind = "ipc",
	.holds = "bytes in a pipe",
	.damages = "flips a bit of them",
	.order = ORDER_MAIN,
	.arm = pipe_arm,
	.check = pipe_check,
	.damage = pipe_damage,
};
