// SPDX-License-Identifier: GPL-2.0-only
/* UDP-Lite over the loopback: datagrams that were not read. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <sys/socket.h>

#include "datagrams.h"
#include "types.h"
#include "witness.h"

static struct datagrams datagrams = {
	.witness = "udp-lite",
	.type = SOCK_DGRAM,
	.protocol = IPPROTO_UDPLITE,
	.head = 0,
};

static void udp_lite_arm(void)
{
	datagrams_arm(&datagrams);
}

static bool udp_lite_check(char *detail)
{
	return datagrams_check(detail, &datagrams);
}

static bool udp_lite_damage(char *detail)
{
	return datagrams_damage(detail, &datagrams);
}

WITNESS = {
	.name = "udp-lite",
	.kind = "network",
	.holds = "datagrams in the queue of a UDP-Lite socket",
	.damages = "takes one",
	.order = ORDER_MAIN,
	.arm = udp_lite_arm,
	.check = udp_lite_check,
	.damage = udp_lite_damage,
};
