// SPDX-License-Identifier: GPL-2.0-only
/*
 * A veth pair in a network namespace: one end is a port of a bridge, and what is
 * sent into the other end waits at the bridge.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

/* linux/veth.h, linux/sockios.h */
#define PEER		1
#define BRIDGE_ADD	0x89a0
#define BRIDGE_ADD_PORT	0x89a2
#define PROTOCOL	0x88b5
#define BYTES		160
#define TURN_NS		2000000

static int inet = -1, sender = -1, receiver = -1;
static struct sockaddr_ll from;

static struct {
	struct nlmsghdr head;
	struct ifinfomsg info;
	char rest[256];
} request;

/* Returns where its length is set when what is in it is known. */
static struct rtattr *put_attribute(int type, const void *data, int bytes)
{
	struct rtattr *it = (void *)((char *)&request +
				     NLMSG_ALIGN(request.head.nlmsg_len));

	it->rta_type = type;
	it->rta_len = RTA_LENGTH(bytes);
	if (bytes)
		memcpy(RTA_DATA(it), data, bytes);
	request.head.nlmsg_len = NLMSG_ALIGN(request.head.nlmsg_len) +
				 RTA_ALIGN(it->rta_len);
	return it;
}

static void close_attribute(struct rtattr *it)
{
	it->rta_len = (char *)&request + request.head.nlmsg_len - (char *)it;
}

static bool make_pair(void)
{
	struct { struct nlmsghdr head; struct nlmsgerr error; } answer;
	struct rtattr *link, *data, *peer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	bool good;

	request.head.nlmsg_len = NLMSG_LENGTH(sizeof(request.info));
	request.head.nlmsg_type = RTM_NEWLINK;
	request.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE |
				   NLM_F_EXCL;
	put_attribute(IFLA_IFNAME, "kspawn-a", 9);
	link = put_attribute(IFLA_LINKINFO, NULL, 0);
	put_attribute(IFLA_INFO_KIND, "veth", 4);
	data = put_attribute(IFLA_INFO_DATA, NULL, 0);
	peer = put_attribute(PEER, &request.info, sizeof(request.info));
	put_attribute(IFLA_IFNAME, "kspawn-b", 9);
	close_attribute(peer);
	close_attribute(data);
	close_attribute(link);
	good = fd >= 0 &&
	       send(fd, &request, request.head.nlmsg_len, 0) > 0 &&
	       recv(fd, &answer, sizeof(answer), 0) >= (ssize_t)sizeof(answer);
	if (good && answer.error.error) {
		errno = -answer.error.error;
		good = false;
	}
	if (fd >= 0)
		close(fd);
	return good;
}

static bool bring_up(const char *name)
{
	struct ifreq one = { 0 };

	snprintf(one.ifr_name, IFNAMSIZ, "%s", name);
	if (ioctl(inet, SIOCGIFFLAGS, &one))
		return false;
	one.ifr_flags |= IFF_UP;
	return !ioctl(inet, SIOCSIFFLAGS, &one);
}

/* To nobody: a bridge floods it, and has it itself. */
static bool put(void)
{
	unsigned char frame[BYTES];

	fill(frame, BYTES, salt("veth", 0), 0);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, "\2kspaw", 6);
	frame[12] = PROTOCOL >> 8;
	frame[13] = PROTOCOL & 0xff;
	return sendto(sender, frame, BYTES, 0, (struct sockaddr *)&from,
		      sizeof(from)) == BYTES;
}

static bool listen_at(const char *name)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PROTOCOL),
		.sll_ifindex = if_nametoindex(name),
	};

	receiver = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	return receiver >= 0 && !bind(receiver, (struct sockaddr *)&at, sizeof(at));
}

/* A port of a bridge forwards once its carrier has been seen: in a moment. */
static bool arrives(unsigned char *frame)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };

	for (long i = 0; i < PATIENCE * (NSEC / TURN_NS); i++) {
		if (!put())
			return false;
		nanosleep(&turn, NULL);
		if (recv(receiver, frame, BYTES, MSG_DONTWAIT) == BYTES)
			return true;
	}
	return false;
}

static void veth_prepare(struct helper_page *page)
{
	unsigned char frame[BYTES];
	struct ifreq port = { .ifr_name = "kspawn-br" };

	(void)page;
	if (unshare(CLONE_NEWNET)) {
		not_here("unshare(CLONE_NEWNET): %s", strerror(errno));
		return;
	}
	inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (inet < 0 || sender < 0 || ioctl(inet, BRIDGE_ADD, "kspawn-br")) {
		not_here("no CONFIG_BRIDGE: %s", strerror(errno));
		return;
	}
	if (!make_pair()) {
		not_here("no CONFIG_VETH: %s", strerror(errno));
		return;
	}
	port.ifr_ifindex = if_nametoindex("kspawn-b");
	from.sll_family = AF_PACKET;
	from.sll_protocol = htons(PROTOCOL);
	from.sll_ifindex = if_nametoindex("kspawn-a");
	if (ioctl(inet, BRIDGE_ADD_PORT, &port) || !bring_up("kspawn-a") ||
	    !bring_up("kspawn-b") || !bring_up("kspawn-br") ||
	    !listen_at("kspawn-br"))
		die_errno("the bridge");
	if (!arrives(frame))
		die("no frame comes through the bridge");
	/* Those that came late are taken, too: one is to wait there. */
	while (recv(receiver, frame, BYTES, MSG_DONTWAIT) > 0)
		;
	if (!put())
		die_errno("sendto");
}

static bool veth_serve(struct helper_page *page, int what, char *detail)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };
	struct difference diff = { 0 };
	unsigned char frame[BYTES], sent[BYTES];
	ssize_t n = -1;

	(void)page;
	for (int i = 0; n < 0 && i < 100; i++) {
		n = recv(receiver, frame, BYTES, MSG_DONTWAIT);
		if (n < 0)
			nanosleep(&turn, NULL);
	}
	if (n != BYTES)
		return fail(detail, "a frame of %zd bytes instead of %d", n,
			    BYTES);
	if (what == HELPER_DAMAGE)
		return true;
	fill(sent, BYTES, salt("veth", 0), 0);
	memcpy(sent, frame, 14);
	if (memcmp(sent, frame, BYTES)) {
		compare(&diff, frame, BYTES, salt("veth", 0), 0);
		return fail_difference(detail, "the frame", &diff);
	}
	if (!put())
		return fail_errno(detail, "sendto");
	return pass(detail, "a frame of %d bytes, through the bridge", BYTES);
}

static void veth_arm(void)
{
	helper_start(&helper, veth_prepare, veth_serve);
}

static bool veth_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool veth_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "veth",
	.kind = "network",
	.holds = "a veth pair through a bridge, and a frame in it",
	.damages = "takes the frame",
	.order = ORDER_CHILDREN,
	.arm = veth_arm,
	.check = veth_check,
	.damage = veth_damage,
};
