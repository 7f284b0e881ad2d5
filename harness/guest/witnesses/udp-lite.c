// SPDX-License-Identifier: GPL-2.0-only
/* UDP-Lite over the loopback: datagrams that were not read. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define DATAGRAMS	3
#define BYTES		100
#define HEAD		0

static int receiver = -1, sender = -1;
static struct sockaddr_in in;

static bool put(int i)
{
	char bytes[BYTES];

	fill(bytes, BYTES, salt("udp-lite", i), 0);
	return sendto(sender, bytes, BYTES, 0, (struct sockaddr *)&in,
		      sizeof(in)) == BYTES;
}

static void udp_lite_arm(void)
{
	socklen_t length = sizeof(in);

	in.sin_family = AF_INET;
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 136);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 136);
	if (receiver < 0 || sender < 0) {
		not_here("socket: %s", strerror(errno));
		return;
	}
	if (bind(receiver, (struct sockaddr *)&in, sizeof(in)) ||
	    getsockname(receiver, (struct sockaddr *)&in, &length))
		die_errno("bind");
	for (int i = 0; i < DATAGRAMS; i++)
		if (!put(i))
			die_errno("sendto");
}

static bool udp_lite_check(char *detail)
{
	for (int i = 0; i < DATAGRAMS; i++) {
		struct difference diff = { 0 };
		char bytes[HEAD + BYTES + 1];
		ssize_t n = recv(receiver, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n != HEAD + BYTES)
			return fail(detail, "datagram %d has %zd bytes instead of %d",
				    i, n, HEAD + BYTES);
		compare(&diff, bytes + HEAD, BYTES, salt("udp-lite", i), 0);
		if (diff.differ)
			return fail_difference(detail, "a datagram", &diff);
	}
	for (int i = 0; i < DATAGRAMS; i++)
		if (!put(i))
			return fail_errno(detail, "sendto");
	return pass(detail, "%d datagrams", DATAGRAMS);
}

static bool udp_lite_damage(char *detail)
{
	char bytes[BYTES];

	if (recv(receiver, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
		return fail_errno(detail, "recv");
	return true;
}

WITNESS = {
	.name = "udp-lite",
	.kind = "network",
	.holds = "datagrams in the queue of a UDP-Lite socket",
	.damages = "takes one",
	.order = ORDER_MAIN,
	.by_name = true,
	.arm = udp_lite_arm,
	.check = udp_lite_check,
	.damage = udp_lite_damage,
};
