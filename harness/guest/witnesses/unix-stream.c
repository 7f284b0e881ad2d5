// SPDX-License-Identifier: GPL-2.0-only
/* A unix stream: bytes that were sent both ways, and not read. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	3000

static int pair[2];

static bool put(int from, int piece)
{
	char bytes[BYTES];

	fill(bytes, BYTES, salt("unix-stream", piece), 0);
	return send(pair[from], bytes, BYTES, MSG_DONTWAIT) == BYTES;
}

static void unix_stream_arm(void)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die_errno("socketpair");
	if (!put(0, 0) || !put(1, 1))
		die_errno("send");
}

static bool unix_stream_check(char *detail)
{
	return check_bytes(detail, pair[1], pair[0], BYTES,
			   salt("unix-stream", 0)) &&
	       check_bytes(detail, pair[0], pair[1], BYTES,
			   salt("unix-stream", 1)) &&
	       pass(detail, "%d bytes each way", BYTES);
}

static bool unix_stream_damage(char *detail)
{
	return damage_bytes(detail, pair[1], pair[0], BYTES);
}

WITNESS = {
	.name = "unix-stream",
	.kind = "ipc",
	.holds = "bytes in flight both ways in a unix stream",
	.damages = "flips a bit of them",
	.order = ORDER_MAIN,
	.arm = unix_stream_arm,
	.check = unix_stream_check,
	.damage = unix_stream_damage,
};
