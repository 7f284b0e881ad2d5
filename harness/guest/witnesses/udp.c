// SPDX-License-Identifier: GPL-2.0-only
/* UDP over the loopback: datagrams that were not read, in their order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define DATAGRAMS	4

static int receiver, sender;

static bool receive(char *detail, int i)
{
	struct difference diff = { 0 };
	char buffer[DETAIL];
	ssize_t n = recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n != 60 + i)
		return fail(detail, "datagram %d has %zd bytes", i, n);
	compare(&diff, buffer, n, salt("udp", i), 0);
	if (diff.differ)
		return fail_difference(detail, "a datagram", &diff);
	if (send(sender, buffer, n, MSG_DONTWAIT) != n)
		return fail_errno(detail, "send");
	return true;
}

static void udp_arm(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(in);
	char buffer[DETAIL];

	receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (receiver < 0 || sender < 0 ||
	    bind(receiver, (struct sockaddr *)&in, sizeof(in)) ||
	    getsockname(receiver, (struct sockaddr *)&in, &length) ||
	    connect(sender, (struct sockaddr *)&in, sizeof(in)))
		die_errno("socket");
	for (int i = 0; i < DATAGRAMS; i++) {
		fill(buffer, 60 + i, salt("udp", i), 0);
		if (send(sender, buffer, 60 + i, 0) != 60 + i)
			die_errno("send");
	}
}

static bool udp_check(char *detail)
{
	for (int i = 0; i < DATAGRAMS; i++)
		if (!receive(detail, i))
			return false;
	return pass(detail, "%d datagrams", DATAGRAMS);
}

static bool udp_damage(char *detail)
{
	char buffer[DETAIL];

	if (recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT) < 0)
		return fail_errno(detail, "recv");
	return true;
}

WITNESS = {
	.name = "udp",
	.kind = "network",
	.holds = "datagrams in the queue of a UDP socket",
	.damages = "takes one",
	.order = ORDER_MAIN,
	.arm = udp_arm,
	.check = udp_check,
	.damage = udp_damage,
};
