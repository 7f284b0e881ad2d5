// SPDX-License-Identifier: GPL-2.0-only
/* The count of an eventfd. */
#define _GNU_SOURCE
#include <sys/eventfd.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int event_fd;

static uint64_t event_count(void)
{
	return (value_of(salt("eventfd", 0)) >> 8) + 1;
}

static void eventfd_arm(void)
{
	uint64_t count = event_count();

	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (event_fd < 0)
		die_errno("eventfd");
	if (write(event_fd, &count, sizeof(count)) != sizeof(count))
		die_errno("write");
}

static bool eventfd_check(char *detail)
{
	uint64_t count;

	if (!get_bytes(detail, event_fd, &count, sizeof(count)))
		return false;
	if (!put_bytes(detail, event_fd, &count, sizeof(count)))
		return false;
	if (count != event_count())
		return fail(detail, "counts %llu instead of %llu",
			    (unsigned long long)count,
			    (unsigned long long)event_count());
	return pass(detail, "counts %llu", (unsigned long long)count);
}

static bool eventfd_damage(char *detail)
{
	uint64_t one = 1;

	return put_bytes(detail, event_fd, &one, sizeof(one));
}

WITNESS = {
	.name = "eventfd",
	.kind = "ipc",
	.holds = "the count of an eventfd",
	.damages = "adds one to it",
	.order = ORDER_MAIN,
	.arm = eventfd_arm,
	.check = eventfd_check,
	.damage = eventfd_damage,
};
