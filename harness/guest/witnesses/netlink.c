// SPDX-License-Identifier: GPL-2.0-only
/* rtnetlink: its address, and an answer of the kernel that waits to be read. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "address.h"
#include "client.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int fd;
static uint32_t id;

static void netlink_arm(void)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} ask = {
		.header = {
			.nlmsg_len = sizeof(ask),
			.nlmsg_type = RTM_GETLINK,
			.nlmsg_flags = NLM_F_REQUEST,
			.nlmsg_seq = 77,
		},
		.info.ifi_index = 1,
	};
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	socklen_t length = sizeof(address);

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		not_here("no netlink: %s", strerror(errno));
		return;
	}
	id = address.nl_pid;
	if (send(fd, &ask, sizeof(ask), 0) != sizeof(ask))
		die_errno("send");
}

static bool netlink_check(char *detail)
{
	struct sockaddr_nl address = { 0 };
	socklen_t length = sizeof(address);
	struct nlmsghdr header;

	if (getsockname(fd, (struct sockaddr *)&address, &length))
		return fail_errno(detail, "getsockname");
	if (address.nl_pid != id)
		return fail(detail, "address %u instead of %u", address.nl_pid, id);
	if (recv(fd, &header, sizeof(header), MSG_PEEK | MSG_DONTWAIT) !=
	    sizeof(header))
		return fail_errno(detail, "recv");
	if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_seq != 77)
		return fail(detail, "type %u, number %u", header.nlmsg_type,
			    header.nlmsg_seq);
	return pass(detail, "an answer of %u bytes", header.nlmsg_len);
}

static bool netlink_damage(char *detail)
{
	char buffer[DETAIL];

	if (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) < 0)
		return fail_errno(detail, "recv");
	return true;
}

WITNESS = {
	.name = "netlink",
	.kind = "network",
	.holds = "a netlink socket with an answer that was not read",
	.damages = "takes the answer",
	.order = ORDER_MAIN,
	.arm = netlink_arm,
	.check = netlink_check,
	.damage = netlink_damage,
};
