// SPDX-License-Identifier: GPL-2.0-only
/*
 * Datagrams in a pair of sockets, of which one carries a file that is open
 * nowhere else.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define DATAGRAMS	3
#define CARRIER		1
#define PASSED_BYTES	5000

static int unix_fds[2];

static size_t datagram_bytes(int i)
{
	return 100 + 57 * i;
}

/* passed is -1 for a datagram without a file. */
static bool send_datagram(char *detail, void *buffer, size_t bytes, int passed)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { buffer, bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (passed >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &passed, sizeof(passed));
	}
	n = sendmsg(unix_fds[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return fail_errno(detail, "sendmsg");
	if ((size_t)n != bytes)
		return fail(detail, "only %zd of %zu bytes were sent", n,
			    bytes);
	return true;
}

static ssize_t receive_datagram(char *detail, void *buffer, size_t bytes,
				int *passed)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { buffer, bytes };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n = recvmsg(unix_fds[1], &message,
			    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header;

	*passed = -1;
	if (n < 0) {
		fail_errno(detail, "recvmsg");
		return n;
	}
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET &&
	    header->cmsg_type == SCM_RIGHTS)
		memcpy(passed, CMSG_DATA(header), sizeof(*passed));
	return n;
}

static void unix_arm(void)
{
	char buffer[DETAIL], detail[DETAIL];
	int passed;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, unix_fds))
		die_errno("socketpair");
	passed = create_file("passed");
	unlink_file("passed");
	write_pattern(passed, PASSED_BYTES, salt("unix-socket", 0));
	for (int i = 0; i < DATAGRAMS; i++) {
		size_t bytes = datagram_bytes(i);

		fill(buffer, bytes, salt("unix-socket", 1 + i), 0);
		if (!send_datagram(detail, buffer, bytes,
				   i == CARRIER ? passed : -1))
			die("%s", detail);
	}
	if (close(passed))
		die_errno("close");
}

static bool check_datagram(char *detail, int i, bool damage)
{
	char buffer[DETAIL] = "", ignored[DETAIL];
	struct difference diff = { 0 };
	int passed;
	ssize_t n = receive_datagram(detail, buffer, sizeof(buffer), &passed);
	size_t bytes = datagram_bytes(i);
	bool good = true;

	if (n < 0)
		return false;
	compare(&diff, buffer, bytes, salt("unix-socket", 1 + i), 0);
	if ((size_t)n != bytes) {
		good = fail(detail, "datagram %d has %zd bytes instead of %zu",
			    i, n, bytes);
	} else if (diff.differ) {
		char what[32];

		snprintf(what, sizeof(what), "datagram %d", i);
		good = fail_difference(detail, what, &diff);
	} else if ((passed >= 0) != (i == CARRIER)) {
		good = fail(detail, "datagram %d came with%s a file", i,
			    passed < 0 ? "out" : "");
	} else if (passed >= 0) {
		good = check_file(detail, passed, PASSED_BYTES, salt("unix-socket", 0));
	}
	if (damage && passed >= 0)
		good = damage_file(detail, passed, PASSED_BYTES - 3) && good;
	if (!send_datagram(good ? detail : ignored, buffer, n, passed))
		good = false;
	if (passed >= 0 && close(passed))
		die_errno("close");
	return good;
}

static bool unix_check(char *detail)
{
	struct pollfd rest = { .fd = unix_fds[1], .events = POLLIN };

	for (int i = 0; i < DATAGRAMS; i++)
		if (!check_datagram(detail, i, false))
			return false;
	if (poll(&rest, 1, 0) != 1)
		return fail(detail, "the datagrams were not sent again");
	return pass(detail, "%d datagrams in flight, one with a file",
		    DATAGRAMS);
}

static bool unix_damage(char *detail)
{
	for (int i = 0; i < DATAGRAMS; i++)
		if (!check_datagram(detail, i, true))
			return false;
	return true;
}

WITNESS = {
	.name = "unix-socket",
	.kind = "ipc",
	.holds = "datagrams, one with a descriptor",
	.damages = "flips a bit of the file that is passed",
	.order = ORDER_MAIN,
	.arm = unix_arm,
	.check = unix_check,
	.damage = unix_damage,
};
