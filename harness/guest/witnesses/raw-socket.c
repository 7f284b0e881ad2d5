// SPDX-License-Identifier: GPL-2.0-only
/* A raw IP socket, protocol 253 (RFC 3692): packets that were not read, with their heads. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <sys/socket.h>

#include "datagrams.h"
#include "types.h"
#include "witness.h"

static struct datagrams datagrams = {
	.witness = "raw-socket",
	.type = SOCK_RAW,
	.protocol = 253,
	.head = 20,
};

static void raw_socket_arm(void)
{
	datagrams_arm(&datagrams);
}

static bool raw_socket_check(char *detail)
{
	return datagrams_check(detail, &datagrams);
}

static bool raw_socket_damage(char *detail)
{
	return datagrams_damage(detail, &datagrams);
}

WITNESS = {
	.name = "raw-socket",
	.kind = "network",
	.holds = "packets in the queue of a raw socket",
	.damages = "takes one",
	.order = ORDER_MAIN,
	.arm = raw_socket_arm,
	.check = raw_socket_check,
	.damage = raw_socket_damage,
};
