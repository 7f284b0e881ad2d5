// SPDX-License-Identifier: GPL-2.0-only
/* fanotify(7): a mark on a file, and what was done to it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

static int group = -1, file = -1;

static bool write_it(void)
{
	return pwrite(file, "x", 1, 0) == 1;
}

static void fanotify_arm(void)
{
	char path[PATH_MAX];

	group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC,
			      O_RDONLY | O_CLOEXEC);
	if (group < 0) {
		not_here("no CONFIG_FANOTIFY, or no right: %s", strerror(errno));
		return;
	}
	file = create_file("fanotify");
	file_name(path, "fanotify");
	if (fanotify_mark(group, FAN_MARK_ADD, FAN_MODIFY, AT_FDCWD, path)) {
		not_here("fanotify_mark: %s", strerror(errno));
		unlink_file("fanotify");
		return;
	}
	unlink_file("fanotify");
	if (!write_it())
		die_errno("write");
}

/* Its mask, 0 if there is none. */
static uint64_t take_event(void)
{
	struct fanotify_event_metadata event;

	if (read(group, &event, sizeof(event)) != sizeof(event))
		return 0;
	if (event.fd >= 0)
		close(event.fd);
	return event.mask;
}

static bool fanotify_check(char *detail)
{
	uint64_t mask = take_event();

	if (mask != FAN_MODIFY)
		return fail(detail, "event 0x%llx instead of 0x%x",
			    (unsigned long long)mask, FAN_MODIFY);
	if (take_event())
		return fail(detail, "2 events instead of 1");
	if (!write_it())
		return fail_errno(detail, "write");
	return pass(detail, "event 0x%llx", (unsigned long long)mask);
}

static bool fanotify_damage(char *detail)
{
	if (!take_event())
		return fail_errno(detail, "read");
	return true;
}

WITNESS = {
	.name = "fanotify",
	.kind = "files",
	.holds = "a mark on a file, and an event that was not read",
	.damages = "takes the event",
	.order = ORDER_MAIN,
	.arm = fanotify_arm,
	.check = fanotify_check,
	.damage = fanotify_damage,
};
