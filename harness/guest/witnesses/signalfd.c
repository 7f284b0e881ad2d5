// SPDX-License-Identifier: GPL-2.0-only
/* A signalfd: a signal that is pending can be read from it. */
#define _GNU_SOURCE
#include <limits.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "signals.h"
#include "types.h"
#include "witness.h"

#define NUMBER	(SIGRTMIN + 2)

static int fd;

static int value(void)
{
	return value_of(salt("signalfd", 0)) & INT_MAX;
}

static bool send_it(char *detail)
{
	union sigval sent = { .sival_int = value() };

	if (sigqueue(getpid(), NUMBER, sent))
		return fail_errno(detail, "sigqueue");
	return true;
}

static void signalfd_arm(void)
{
	char detail[DETAIL];
	sigset_t set;

	block_signal(NUMBER);
	if (sigemptyset(&set) || sigaddset(&set, NUMBER))
		die_errno("sigaddset");
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		die_errno("signalfd");
	if (!send_it(detail))
		die("%s", detail);
}

static bool signalfd_check(char *detail)
{
	struct signalfd_siginfo info;

	if (!get_bytes(detail, fd, &info, sizeof(info)) || !send_it(detail))
		return false;
	if ((int)info.ssi_signo != NUMBER || info.ssi_int != value() ||
	    info.ssi_pid != (uint32_t)getpid())
		return fail(detail, "signal %u, value %d, from %u",
			    info.ssi_signo, info.ssi_int, info.ssi_pid);
	return pass(detail, "signal %u with its value", info.ssi_signo);
}

static bool signalfd_damage(char *detail)
{
	struct signalfd_siginfo info;

	return get_bytes(detail, fd, &info, sizeof(info));
}

WITNESS = {
	.name = "signalfd",
	.kind = "ipc",
	.holds = "a signalfd with a signal in it",
	.damages = "takes the signal",
	.order = ORDER_SIGNALS,
	.arm = signalfd_arm,
	.check = signalfd_check,
	.damage = signalfd_damage,
};
