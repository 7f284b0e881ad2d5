// SPDX-License-Identifier: GPL-2.0-only
/* A connection with one direction closed: its states, and the bytes before the end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	500

static int client, server;

static void half_arm(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(in);
	char buffer[BYTES], detail[DETAIL];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || client < 0 ||
	    bind(listener, (struct sockaddr *)&in, sizeof(in)) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&in, &length) ||
	    connect(client, (struct sockaddr *)&in, sizeof(in)))
		die_errno("connect");
	server = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (server < 0 || close(listener))
		die_errno("accept");
	fill(buffer, BYTES, salt("tcp-half-closed", 0), 0);
	if (!put_bytes(detail, client, buffer, BYTES) ||
	    !await_bytes(detail, server, BYTES))
		die("%s", detail);
	if (shutdown(client, SHUT_WR))
		die_errno("shutdown");
}

static int state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) ?
	       -1 : info.tcpi_state;
}

/* The other end answers a moment later. */
static bool await_state(int fd, int state)
{
	struct timespec nap = { .tv_nsec = 1000000 };

	for (int i = 0; state_of(fd) != state; i++) {
		if (i == PATIENCE * 1000)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

static bool half_check(char *detail)
{
	struct difference diff = { 0 };
	char buffer[BYTES + 1], c;
	ssize_t n;

	if (!await_state(client, TCP_FIN_WAIT2) ||
	    !await_state(server, TCP_CLOSE_WAIT))
		return fail(detail, "states %d and %d", state_of(client),
			    state_of(server));
	n = recv(server, buffer, sizeof(buffer), MSG_PEEK | MSG_DONTWAIT);
	if (n != BYTES)
		return fail(detail, "%zd bytes instead of %d", n, BYTES);
	compare(&diff, buffer, BYTES, salt("tcp-half-closed", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "read", &diff);
	if (recv(client, &c, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
		return fail(detail, "something came the other way");
	return pass(detail, "FIN_WAIT2, CLOSE_WAIT, %d bytes", BYTES);
}

static bool half_damage(char *detail)
{
	return put_bytes(detail, server, "x", 1) &&
	       await_bytes(detail, client, 1);
}

WITNESS = {
	.name = "tcp-half-closed",
	.kind = "network",
	.holds = "a TCP connection closed in one direction",
	.damages = "sends in the other",
	.order = ORDER_MAIN,
	.arm = half_arm,
	.check = half_check,
	.damage = half_damage,
};
