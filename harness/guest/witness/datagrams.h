/* SPDX-License-Identifier: GPL-2.0-only */
/* Datagrams over the loopback that were not read, of a protocol without its own witness. */
#ifndef DATAGRAMS_H
#define DATAGRAMS_H

#include <netinet/in.h>

#include "types.h"

struct datagrams {
	const char *witness;	/* its name: for the patterns */
	int type, protocol;	/* as for socket(2) */
	int head;		/* bytes that are received before those that were sent */
	int receiver, sender;
	struct sockaddr_in in;
};

void datagrams_arm(struct datagrams *datagrams);
/* Takes all, compares them, and sends them again. */
bool datagrams_check(char *detail, struct datagrams *datagrams);
/* Takes one. */
bool datagrams_damage(char *detail, struct datagrams *datagrams);

#endif
