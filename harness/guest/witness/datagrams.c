// SPDX-License-Identifier: GPL-2.0-only
/* Datagrams over the loopback that were not read. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "datagrams.h"
#include "pattern.h"
#include "report.h"
#include "types.h"

#define COUNT		3
#define BYTES		100
#define MOST_HEAD	60

static bool put(struct datagrams *d, int i)
{
	char bytes[BYTES];

	fill(bytes, BYTES, salt(d->witness, i), 0);
	return sendto(d->sender, bytes, BYTES, 0, (struct sockaddr *)&d->in,
		      sizeof(d->in)) == BYTES;
}

void datagrams_arm(struct datagrams *d)
{
	socklen_t length = sizeof(d->in);

	d->in.sin_family = AF_INET;
	d->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	d->receiver = socket(AF_INET, d->type | SOCK_CLOEXEC, d->protocol);
	d->sender = socket(AF_INET, d->type | SOCK_CLOEXEC, d->protocol);
	if (d->receiver < 0 || d->sender < 0) {
		not_here("socket: %s", strerror(errno));
		return;
	}
	if (bind(d->receiver, (struct sockaddr *)&d->in, sizeof(d->in)) ||
	    getsockname(d->receiver, (struct sockaddr *)&d->in, &length))
		die_errno("bind");
	for (int i = 0; i < COUNT; i++)
		if (!put(d, i))
			die_errno("sendto");
}

bool datagrams_check(char *detail, struct datagrams *d)
{
	for (int i = 0; i < COUNT; i++) {
		struct difference diff = { 0 };
		char bytes[MOST_HEAD + BYTES + 1];
		ssize_t n = recv(d->receiver, bytes, sizeof(bytes),
				 MSG_DONTWAIT);

		if (n != d->head + BYTES)
			return fail(detail, "datagram %d has %zd bytes instead of %d",
				    i, n, d->head + BYTES);
		compare(&diff, bytes + d->head, BYTES, salt(d->witness, i), 0);
		if (diff.differ)
			return fail_difference(detail, "a datagram", &diff);
	}
	for (int i = 0; i < COUNT; i++)
		if (!put(d, i))
			return fail_errno(detail, "sendto");
	return pass(detail, "%d datagrams", COUNT);
}

bool datagrams_damage(char *detail, struct datagrams *d)
{
	char bytes[MOST_HEAD + BYTES];

	if (recv(d->receiver, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
		return fail_errno(detail, "recv");
	return true;
}
