// SPDX-License-Identifier: GPL-2.0-only
/* Asks a witness. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "client.h"
#include "exit_codes.h"
#include "options.h"
#include "relay.h"
#include "types.h"

/* The most that a client waits: every check may need its PATIENCE. */
#define CLIENT_SECONDS	300

int ask(const char *request)
{
	struct timeval timeout = { .tv_sec = CLIENT_SECONDS };
	struct sockaddr_un un;
	ssize_t length = strlen(request);
	int fd, status;
	char rest;

	if (address(&un))
		return error(WRONG_USAGE, "the path of the socket is too long");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error(UNREACHABLE, "socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)))
		return error(UNREACHABLE, "setsockopt: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)))
		return error(UNREACHABLE, "%s: %s", options.socket,
			     strerror(errno));
	if (send(fd, request, length, MSG_NOSIGNAL) != length)
		return error(UNREACHABLE, "send: %s", strerror(errno));
	status = relay(fd, UNREACHABLE, "the witness");
	/* Nothing more comes, but "stop" ends only when the witness has. */
	while (read(fd, &rest, 1) > 0)
		;
	return status;
}
