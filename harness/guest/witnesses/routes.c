// SPDX-License-Identifier: GPL-2.0-only
/* An address, a route and a permanent neighbour of a tap device, in a network namespace. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
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

static struct sockaddr address(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr any;

	inet_pton(AF_INET, text, &in.sin_addr);
	memcpy(&any, &in, sizeof(any));
	return any;
}

static struct arpreq neighbour(void)
{
	struct arpreq entry = {
		.arp_pa = address("192.0.2.7"),
		.arp_ha = { .sa_family = ARPHRD_ETHER, .sa_data = "\2kspaw" },
		.arp_flags = ATF_COM | ATF_PERM,
		.arp_dev = "kspawn-tap",
	};

	return entry;
}

static void routes_prepare(struct helper_page *page)
{
	struct ifreq request = named("kspawn-tap");
	struct arpreq entry = neighbour();
	struct rtentry route = {
		.rt_dst = address("198.51.100.0"),
		.rt_genmask = address("255.255.255.0"),
		.rt_gateway = address("192.0.2.7"),
		.rt_flags = RTF_UP | RTF_GATEWAY,
	};

	(void)page;
	if (!make_tap())
		return;
	request.ifr_addr = address("192.0.2.1");
	if (ioctl(inet, SIOCSIFADDR, &request) || !bring_up("kspawn-tap") ||
	    ioctl(inet, SIOCADDRT, &route) || ioctl(inet, SIOCSARP, &entry))
		die_errno("the route");
}

/* The line of /proc/net/route for the destination. */
static bool has_route(char *detail)
{
	FILE *file = fopen("/proc/self/net/route", "re");
	char line[256];
	bool found = false;

	if (!file)
		return fail_errno(detail, "/proc/self/net/route");
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, "kspawn-tap\t006433C6\t070200C0");
	fclose(file);
	return found || fail(detail, "no route to 198.51.100.0 by 192.0.2.7");
}

static bool routes_serve(struct helper_page *page, int what, char *detail)
{
	struct ifreq request = named("kspawn-tap");
	struct sockaddr wanted = address("192.0.2.1");
	struct arpreq entry = neighbour(), is = neighbour();

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (ioctl(inet, SIOCDARP, &entry))
			return fail_errno(detail, "SIOCDARP");
		return true;
	}
	if (ioctl(inet, SIOCGIFADDR, &request))
		return fail_errno(detail, "SIOCGIFADDR");
	if (memcmp(&request.ifr_addr, &wanted, 8))
		return fail(detail, "it has another address than 192.0.2.1");
	memset(&is.arp_ha, 0, sizeof(is.arp_ha));
	if (ioctl(inet, SIOCGARP, &is))
		return fail_errno(detail, "neighbour 192.0.2.7: SIOCGARP");
	if (memcmp(is.arp_ha.sa_data, entry.arp_ha.sa_data, 6) ||
	    !(is.arp_flags & ATF_PERM))
		return fail(detail, "neighbour 192.0.2.7: flags 0x%x, or another address",
			    is.arp_flags);
	return has_route(detail) &&
	       pass(detail, "an address, a route, a neighbour");
}

static void routes_arm(void)
{
	helper_start(&helper, routes_prepare, routes_serve);
}

static bool routes_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool routes_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "routes",
	.kind = "network",
	.holds = "an address, a route and a neighbour, in a network namespace",
	.damages = "removes the neighbour",
	.order = ORDER_CHILDREN,
	.arm = routes_arm,
	.check = routes_check,
	.damage = routes_damage,
};
