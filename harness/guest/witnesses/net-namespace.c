// SPDX-License-Identifier: GPL-2.0-only
/* A net namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define PORT	4242

static int fd = -1;
static struct ifreq lo = { .ifr_name = "lo" };

static bool set_up(bool up)
{
	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo))
		return false;
	lo.ifr_flags = up ? lo.ifr_flags | IFF_UP : lo.ifr_flags & ~IFF_UP;
	return !ioctl(fd, SIOCSIFFLAGS, &lo);
}

/* It is free once: the socket is kept if that went well. */
static bool bind_port(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int port = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), number;

	if (port < 0)
		return false;
	if (!bind(port, (struct sockaddr *)&in, sizeof(in)))
		return true;
	number = errno;
	close(port);
	errno = number;
	return false;
}

static void net_namespace_prepare(struct helper_page *page)
{
	struct stat st;

	if (unshare(CLONE_NEWNET) < 0) {
		not_here("unshare(CLONE_NEWNET): %s", strerror(errno));
		return;
	}
	if (!set_up(true) || !bind_port())
		die_errno("its loopback");
	if (stat("/proc/self/ns/net", &st)) {
		not_here("no /proc/self/ns/net");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool net_namespace_serve(struct helper_page *page, int what, char *detail)
{
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (!set_up(false))
			return fail_errno(detail, "SIOCSIFFLAGS");
		return true;
	}
	if (stat("/proc/self/ns/net", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	if (ioctl(fd, SIOCGIFFLAGS, &lo))
		return fail_errno(detail, "SIOCGIFFLAGS");
	if (!(lo.ifr_flags & IFF_UP))
		return fail(detail, "flags of lo 0x%x: it is down",
			    lo.ifr_flags);
	if (bind_port() || errno != EADDRINUSE)
		return fail(detail, "its port %d is free", PORT);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void net_namespace_arm(void)
{
	helper_start(&helper, net_namespace_prepare, net_namespace_serve);
}

static bool net_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool net_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "net-namespace",
	.kind = "process",
	.holds = "a network namespace with its loopback up, and a port",
	.damages = "takes the loopback down",
	.order = ORDER_CHILDREN,
	.arm = net_namespace_arm,
	.check = net_namespace_check,
	.damage = net_namespace_damage,
};
