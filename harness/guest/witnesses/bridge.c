// SPDX-License-Identifier: GPL-2.0-only
/* A bridge, and a tap device that is a port of it, in a network namespace. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"
#include "netdevice.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

/* linux/sockios.h and linux/if_bridge.h */
#define BRIDGE_ADD	0x89a0
#define BRIDGE_ADD_PORT	0x89a2
#define BRIDGE_DEL_PORT	0x89a3
#define BRIDGE_GET	0x89f0
#define GET_PORT_LIST	7

static void bridge_prepare(struct helper_page *page)
{
	struct ifreq request = named("kspawn-br");

	if (!make_tap())
		return;
	if (ioctl(inet, BRIDGE_ADD, "kspawn-br")) {
		not_here("no CONFIG_BRIDGE: %s", strerror(errno));
		return;
	}
	request.ifr_ifindex = if_nametoindex("kspawn-tap");
	page->value[0] = request.ifr_ifindex;
	if (ioctl(inet, BRIDGE_ADD_PORT, &request) || !bring_up("kspawn-tap") ||
	    !bring_up("kspawn-br"))
		die_errno("the bridge");
}

/* The index of its first port, 0 if there is none. */
static int first_port(void)
{
	int ports[4] = { 0 };
	unsigned long arguments[4] = { GET_PORT_LIST, (uintptr_t)ports, 4, 0 };
	struct ifreq request = named("kspawn-br");

	request.ifr_data = (void *)arguments;
	if (ioctl(inet, BRIDGE_GET, &request) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		if (ports[i])
			return ports[i];
	return 0;
}

static bool bridge_serve(struct helper_page *page, int what, char *detail)
{
	struct ifreq request = named("kspawn-br");
	int port = first_port();

	if (what == HELPER_DAMAGE) {
		request.ifr_ifindex = page->value[0];
		if (ioctl(inet, BRIDGE_DEL_PORT, &request))
			return fail_errno(detail, "SIOCBRDELIF");
		return true;
	}
	if (port != page->value[0])
		return fail(detail, "its port is interface %d instead of %lld",
			    port, (long long)page->value[0]);
	if (ioctl(inet, SIOCGIFFLAGS, &request))
		return fail_errno(detail, "SIOCGIFFLAGS");
	if (!(request.ifr_flags & IFF_UP))
		return fail(detail, "flags 0x%x: it is down", request.ifr_flags);
	return pass(detail, "interface %d is its port", port);
}

static void bridge_arm(void)
{
	helper_start(&helper, bridge_prepare, bridge_serve);
}

static bool bridge_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool bridge_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "bridge",
	.kind = "network",
	.holds = "a bridge with a port, in a network namespace",
	.damages = "takes the port out",
	.order = ORDER_CHILDREN,
	.arm = bridge_arm,
	.check = bridge_check,
	.damage = bridge_damage,
};
