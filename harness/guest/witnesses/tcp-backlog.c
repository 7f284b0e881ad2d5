// SPDX-License-Identifier: GPL-2.0-only
/* A socket that listens, and a connection that nobody has accepted yet. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	200

static int listener, client;

static void backlog_arm(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(in);
	char buffer[BYTES], detail[DETAIL];

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || client < 0 ||
	    bind(listener, (struct sockaddr *)&in, sizeof(in)) ||
	    listen(listener, 3) ||
	    getsockname(listener, (struct sockaddr *)&in, &length) ||
	    connect(client, (struct sockaddr *)&in, sizeof(in)))
		die_errno("connect");
	fill(buffer, BYTES, salt("tcp-backlog", 0), 0);
	if (!put_bytes(detail, client, buffer, BYTES))
		die("%s", detail);
}

static bool backlog_check(char *detail)
{
	struct pollfd waiting = { .fd = listener, .events = POLLIN };
	struct tcp_info info;
	socklen_t size = sizeof(info);

	if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size))
		return fail_errno(detail, "TCP_INFO");
	if (info.tcpi_state != TCP_LISTEN || info.tcpi_unacked != 1 ||
	    info.tcpi_sacked != 3)
		return fail(detail, "state %d, %u of %u wait", info.tcpi_state,
			    info.tcpi_unacked, info.tcpi_sacked);
	if (poll(&waiting, 1, 0) != 1)
		return fail(detail, "no connection waits");
	return pass(detail, "1 of 3 waits");
}

static bool backlog_damage(char *detail)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return fail_errno(detail, "accept");
	return close(fd) ? fail_errno(detail, "close") : true;
}

WITNESS = {
	.name = "tcp-backlog",
	.kind = "network",
	.holds = "a listening socket with a connection in its backlog",
	.damages = "takes the connection",
	.order = ORDER_MAIN,
	.arm = backlog_arm,
	.check = backlog_check,
	.damage = backlog_damage,
};
