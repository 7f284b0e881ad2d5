// SPDX-License-Identifier: GPL-2.0-only
/* Asynchronous I/O: a request in flight, which completes when a byte comes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define COOKIE	0x5eedULL

static aio_context_t context;
static int fds[2];
static struct iocb request;

static bool submit(char *detail)
{
	struct iocb *list = &request;

	request = (struct iocb){
		.aio_data = COOKIE,
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = fds[0],
		.aio_buf = POLLIN,
	};
	if (syscall(SYS_io_submit, context, 1, &list) != 1)
		return fail_errno(detail, "io_submit");
	return true;
}

static int completed(struct io_event *event)
{
	struct timespec none = { 0 };

	return syscall(SYS_io_getevents, context, 0, 1, event, &none);
}

static void aio_arm(void)
{
	char detail[DETAIL];

	if (syscall(SYS_io_setup, 4, &context)) {
		not_here("io_setup: %s", strerror(errno));
		return;
	}
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	if (!submit(detail))
		not_here("%s", detail);
}

static bool aio_check(char *detail)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	struct io_event event = { 0 };
	char c;

	if (completed(&event))
		return fail(detail, "it has completed, with %lld",
			    (long long)event.res);
	if (!put_bytes(detail, fds[1], "x", 1))
		return false;
	for (int i = 0; completed(&event) != 1; i++) {
		if (i == PATIENCE * 1000)
			return fail(detail, "it does not complete");
		nanosleep(&nap, NULL);
	}
	if (event.data != COOKIE || !(event.res & POLLIN))
		return fail(detail, "data 0x%llx, result %lld",
			    (unsigned long long)event.data,
			    (long long)event.res);
	if (!get_bytes(detail, fds[0], &c, 1) || !submit(detail))
		return false;
	return pass(detail, "a request in flight");
}

static bool aio_damage(char *detail)
{
	if (close(fds[1]))
		return fail_errno(detail, "close");
	return true;
}

WITNESS = {
	.name = "aio-poll",
	.kind = "ipc",
	.holds = "an AIO request that waits for a pipe",
	.damages = "cancels it",
	.order = ORDER_MAIN,
	.arm = aio_arm,
	.check = aio_check,
	.damage = aio_damage,
};
