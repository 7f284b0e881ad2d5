// SPDX-License-Identifier: GPL-2.0-only
/* A pipe in packet mode: each write is read by itself. */
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

#define PACKETS	5

static int fds[2];

static size_t packet_bytes(int i)
{
	return 11 + 13 * i;
}

static void packet_arm(void)
{
	char buffer[DETAIL], detail[DETAIL];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC | O_DIRECT)) {
		not_here("no packet mode: %s", strerror(errno));
		return;
	}
	for (int i = 0; i < PACKETS; i++) {
		fill(buffer, packet_bytes(i), salt("packet-pipe", i), 0);
		if (!put_bytes(detail, fds[1], buffer, packet_bytes(i)))
			die("%s", detail);
	}
}

static bool packet_check(char *detail)
{
	for (int i = 0; i < PACKETS; i++) {
		struct difference diff = { 0 };
		char buffer[DETAIL];
		ssize_t n = read(fds[0], buffer, sizeof(buffer));

		if (n != (ssize_t)packet_bytes(i))
			return fail(detail, "packet %d has %zd bytes instead of %zu",
				    i, n, packet_bytes(i));
		compare(&diff, buffer, n, salt("packet-pipe", i), 0);
		if (diff.differ)
			return fail_difference(detail, "a packet", &diff);
		if (!put_bytes(detail, fds[1], buffer, n))
			return false;
	}
	return pass(detail, "%d packets", PACKETS);
}

static bool packet_damage(char *detail)
{
	char buffer[DETAIL];

	if (read(fds[0], buffer, sizeof(buffer)) < 0)
		return fail_errno(detail, "read");
	return true;
}

WITNESS = {
	.name = "packet-pipe",
	.kind = "ipc",
	.holds = "packets in a pipe",
	.damages = "takes the first",
	.order = ORDER_MAIN,
	.arm = packet_arm,
	.check = packet_check,
	.damage = packet_damage,
};
