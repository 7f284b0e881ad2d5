// SPDX-License-Identifier: GPL-2.0-only
/* mq_notify(3): a signal is to come with the next message. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "signals.h"
#include "types.h"
#include "witness.h"

#define NUMBER	(SIGRTMIN + 5)
#define VALUE	0x6b73

static mqd_t queue;

static int ask_to_tell(void)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = NUMBER,
		.sigev_value.sival_int = VALUE,
	};

	return mq_notify(queue, &event);
}

static void posix_mq_notify_arm(void)
{
	struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 8 };
	char name[64];

	block_signal(NUMBER);
	snprintf(name, sizeof(name), "/kspawn-notify-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC,
			0600, &attr);
	if (queue < 0)
		die_errno("mq_open");
	if (mq_unlink(name) || ask_to_tell())
		die_errno("mq_notify");
}

static bool posix_mq_notify_check(char *detail)
{
	siginfo_t info;
	char bytes[8];
	int number;

	if (take_signal(NUMBER, &info))
		return fail(detail, "its signal came before a message");
	if (mq_send(queue, "abc", 3, 0))
		return fail_errno(detail, "mq_send");
	number = take_signal(NUMBER, &info);
	if (mq_receive(queue, bytes, sizeof(bytes), NULL) != 3)
		return fail_errno(detail, "mq_receive");
	if (number != NUMBER)
		return fail(detail, "signal %d instead of %d", number, NUMBER);
	if (info.si_code != SI_MESGQ || info.si_value.sival_int != VALUE)
		return fail(detail, "code %d, value 0x%x instead of 0x%x",
			    info.si_code, info.si_value.sival_int, VALUE);
	if (ask_to_tell())
		return fail_errno(detail, "mq_notify");
	return pass(detail, "signal %d with its value", number);
}

static bool posix_mq_notify_damage(char *detail)
{
	if (mq_notify(queue, NULL))
		return fail_errno(detail, "mq_notify");
	return true;
}

WITNESS = {
	.name = "posix-mq-notify",
	.kind = "ipc",
	.holds = "a POSIX queue that is to tell of a message",
	.damages = "has it tell nobody",
	.order = ORDER_SIGNALS,
	.arm = posix_mq_notify_arm,
	.check = posix_mq_notify_check,
	.damage = posix_mq_notify_damage,
};
