// SPDX-License-Identifier: GPL-2.0-only
/* A packet socket on the loopback: frames that were not read. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

/* For experiments: IEEE 802. */
#define PROTOCOL	0x88b5
#define FRAMES		2
#define BYTES		200

static int receiver = -1, sender = -1;
static struct sockaddr_ll lo;

static bool put(int i)
{
	char bytes[BYTES];

	fill(bytes, BYTES, salt("packet-socket", i), 0);
	return sendto(sender, bytes, BYTES, 0, (struct sockaddr *)&lo,
		      sizeof(lo)) == BYTES;
}

static void packet_socket_arm(void)
{
	lo.sll_family = AF_PACKET;
	lo.sll_protocol = htons(PROTOCOL);
	lo.sll_ifindex = if_nametoindex("lo");
	lo.sll_halen = 6;
	receiver = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sender = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (receiver < 0 || sender < 0) {
		not_here("no packet sockets: %s", strerror(errno));
		return;
	}
	if (bind(receiver, (struct sockaddr *)&lo, sizeof(lo)))
		die_errno("bind");
	for (int i = 0; i < FRAMES; i++)
		if (!put(i))
			die_errno("sendto");
}

static bool packet_socket_check(char *detail)
{
	for (int i = 0; i < FRAMES; i++) {
		struct difference diff = { 0 };
		char bytes[BYTES];
		ssize_t n = recv(receiver, bytes, BYTES, MSG_DONTWAIT);

		if (n != BYTES)
			return fail(detail, "frame %d has %zd bytes instead of %d",
				    i, n, BYTES);
		compare(&diff, bytes, BYTES, salt("packet-socket", i), 0);
		if (diff.differ)
			return fail_difference(detail, "a frame", &diff);
		if (!put(i))
			return fail_errno(detail, "sendto");
	}
	return await_bytes(detail, receiver, BYTES) &&
	       pass(detail, "%d frames", FRAMES);
}

static bool packet_socket_damage(char *detail)
{
	char bytes[BYTES];

	return get_bytes(detail, receiver, bytes, BYTES);
}

WITNESS = {
	.name = "packet-socket",
	.kind = "network",
	.holds = "frames in the queue of a packet socket",
	.damages = "takes one",
	.order = ORDER_MAIN,
	.arm = packet_socket_arm,
	.check = packet_socket_check,
	.damage = packet_socket_damage,
};
