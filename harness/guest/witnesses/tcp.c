// SPDX-License-Identifier: GPL-2.0-only
/* A connection over the loopback, with bytes sent and not yet read. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define TCP_BYTES	3000

static int tcp_client, tcp_server;
static struct sockaddr_in tcp_client_address;

static void tcp_arm(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(in);
	char buffer[TCP_BYTES], detail[DETAIL];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0)
		die_errno("socket");
	if (bind(listener, (struct sockaddr *)&in, sizeof(in)))
		die_errno("bind");
	if (listen(listener, 1))
		die_errno("listen");
	if (getsockname(listener, (struct sockaddr *)&in, &length))
		die_errno("getsockname");
	tcp_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (tcp_client < 0)
		die_errno("socket");
	if (connect(tcp_client, (struct sockaddr *)&in, sizeof(in)))
		die_errno("connect");
	tcp_server = accept4(listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (tcp_server < 0)
		die_errno("accept");
	if (close(listener))
		die_errno("close");
	if (fcntl(tcp_client, F_SETFL, O_NONBLOCK))
		die_errno("fcntl");
	length = sizeof(tcp_client_address);
	if (getsockname(tcp_client, (struct sockaddr *)&tcp_client_address,
			&length))
		die_errno("getsockname");
	fill(buffer, TCP_BYTES, salt("tcp", 0), 0);
	if (!put_bytes(detail, tcp_client, buffer, TCP_BYTES) ||
	    !await_bytes(detail, tcp_server, TCP_BYTES))
		die("%s", detail);
}

static bool tcp_check(char *detail)
{
	const int ends[] = { tcp_client, tcp_server };
	struct sockaddr_in in;
	socklen_t length = sizeof(in);

	for (int i = 0; i < 2; i++) {
		struct tcp_info info;
		socklen_t size = sizeof(info);

		if (getsockopt(ends[i], IPPROTO_TCP, TCP_INFO, &info, &size))
			return fail_errno(detail, "TCP_INFO");
		if (info.tcpi_state != TCP_ESTABLISHED)
			return fail(detail, "an end is in state %d instead of %d",
				    info.tcpi_state, TCP_ESTABLISHED);
	}
	if (getpeername(tcp_server, (struct sockaddr *)&in, &length))
		return fail_errno(detail, "getpeername");
	if (in.sin_port != tcp_client_address.sin_port ||
	    in.sin_addr.s_addr != tcp_client_address.sin_addr.s_addr)
		return fail(detail, "the peer is at port %d instead of %d",
			    ntohs(in.sin_port),
			    ntohs(tcp_client_address.sin_port));
	if (!check_bytes(detail, tcp_server, tcp_client, TCP_BYTES, salt("tcp", 0)) ||
	    !await_bytes(detail, tcp_server, TCP_BYTES))
		return false;
	return pass(detail, "%d bytes sent and not read", TCP_BYTES);
}

static bool tcp_damage(char *detail)
{
	return damage_bytes(detail, tcp_server, tcp_client, TCP_BYTES);
}

WITNESS = {
	.name = "tcp",
	.kind = "network",
	.holds = "a TCP connection, bytes sent and not read",
	.damages = "flips a bit of them",
	.order = ORDER_MAIN,
	.arm = tcp_arm,
	.check = tcp_check,
	.damage = tcp_damage,
};
