// SPDX-License-Identifier: GPL-2.0-only
/* Network devices of a helper, in a network namespace of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "netdevice.h"
#include "report.h"
#include "types.h"
#include "witness.h"

/* linux/if_tun.h, which does not go with musl's net/if.h. */
#define TUNSETIFF	0x400454ca
#define IFF_TAP		0x0002
#define IFF_NO_PI	0x1000

int inet = -1, tap = -1;

struct ifreq named(const char *name)
{
	struct ifreq request = { 0 };

	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	return request;
}

bool bring_up(const char *name)
{
	struct ifreq request = named(name);

	if (ioctl(inet, SIOCGIFFLAGS, &request))
		return false;
	request.ifr_flags |= IFF_UP;
	return !ioctl(inet, SIOCSIFFLAGS, &request);
}

bool make_tap(void)
{
	struct ifreq request = named("kspawn-tap");

	if (unshare(CLONE_NEWNET)) {
		not_here("unshare(CLONE_NEWNET): %s", strerror(errno));
		return false;
	}
	inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	if (inet < 0 || tap < 0 || ioctl(tap, TUNSETIFF, &request)) {
		not_here("no CONFIG_TUN: %s", strerror(errno));
		return false;
	}
	return true;
}
