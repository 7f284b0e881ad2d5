// SPDX-License-Identifier: GPL-2.0-only
/* A socket pair with a message that carries SCM_CREDENTIALS; it is peeked at. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static const char text[] = "who sends this";
static int fds[2];

static void credentials_arm(void)
{
	int on = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ||
	    setsockopt(fds[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		die_errno("socketpair");
	if (send(fds[0], text, sizeof(text), MSG_DONTWAIT) != sizeof(text))
		die_errno("send");
}

static bool credentials_check(char *detail)
{
	union {
		char space[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} control = { 0 };
	char got[sizeof(text)];
	struct iovec part = { got, sizeof(got) };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	struct cmsghdr *header;
	struct ucred ids;

	if (recvmsg(fds[1], &message, MSG_PEEK | MSG_DONTWAIT) != sizeof(text))
		return fail_errno(detail, "recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_CREDENTIALS)
		return fail(detail, "it has no credentials");
	memcpy(&ids, CMSG_DATA(header), sizeof(ids));
	if (ids.pid != getpid() || ids.uid != getuid() || ids.gid != getgid() ||
	    memcmp(got, text, sizeof(text)))
		return fail(detail, "process %d, user %u, group %u", ids.pid,
			    ids.uid, ids.gid);
	return pass(detail, "from process %d", ids.pid);
}

static bool credentials_damage(char *detail)
{
	char got[sizeof(text)];

	if (recv(fds[1], got, sizeof(got), MSG_DONTWAIT) != sizeof(text))
		return fail_errno(detail, "recv");
	return true;
}

WITNESS = {
	.name = "unix-credentials",
	.kind = "ipc",
	.holds = "a message with the ids of its sender",
	.damages = "takes it",
	.order = ORDER_MAIN,
	.arm = credentials_arm,
	.check = credentials_check,
	.damage = credentials_damage,
};
