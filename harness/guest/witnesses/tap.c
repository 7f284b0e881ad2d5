// SPDX-License-Identifier: GPL-2.0-only
/* A tap device in a network namespace: a frame that was sent and not read. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "netdevice.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define PROTOCOL	0x88b5
#define BYTES		180

static struct sockaddr_ll where;
static int sender = -1;

static bool put(void)
{
	char bytes[BYTES];

	fill(bytes, BYTES, salt("tap", 0), 0);
	return sendto(sender, bytes, BYTES, 0, (struct sockaddr *)&where,
		      sizeof(where)) == BYTES;
}

static void tap_prepare(struct helper_page *page)
{
	(void)page;
	if (!make_tap())
		return;
	sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (sender < 0) {
		not_here("no CONFIG_PACKET: %s", strerror(errno));
		return;
	}
	where.sll_family = AF_PACKET;
	where.sll_protocol = htons(PROTOCOL);
	where.sll_ifindex = if_nametoindex("kspawn-tap");
	if (!bring_up("kspawn-tap") || !put())
		die_errno("the frame");
}

/* What the kernel itself sends there, such as by IPv6, is not looked at. */
static bool take(char *detail)
{
	struct difference diff = { 0 }, best = { 0 };
	char bytes[2048];

	for (;;) {
		ssize_t n = read(tap, bytes, sizeof(bytes));

		if (n < 0)
			break;
		if (n != BYTES)
			continue;
		diff = (struct difference){ 0 };
		compare(&diff, bytes, BYTES, salt("tap", 0), 0);
		if (!diff.differ)
			return true;
		best = diff;
	}
	if (best.differ)
		return fail_difference(detail, "the frame", &best);
	return fail(detail, "no frame of %d bytes", BYTES);
}

static bool tap_serve(struct helper_page *page, int what, char *detail)
{
	(void)page;
	if (!take(detail))
		return false;
	if (what == HELPER_DAMAGE)
		return true;
	if (!put())
		return fail_errno(detail, "sendto");
	return pass(detail, "a frame of %d bytes", BYTES);
}

static void tap_arm(void)
{
	helper_start(&helper, tap_prepare, tap_serve);
}

static bool tap_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool tap_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "tap",
	.kind = "network",
	.holds = "a frame in the queue of a tap device",
	.damages = "takes the frame",
	.order = ORDER_CHILDREN,
	.arm = tap_arm,
	.check = tap_check,
	.damage = tap_damage,
};
