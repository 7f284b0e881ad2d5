// SPDX-License-Identifier: GPL-2.0-only
/* inotify: an event waits, and the watch still sees. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

static int fd = -1, watched = -1, watch;
static char path[PATH_MAX];

static bool touch(char *detail)
{
	if (pwrite(watched, "x", 1, 0) != 1)
		return fail_errno(detail, "pwrite");
	return true;
}

static void inotify_arm(void)
{
	char detail[DETAIL];

	watched = create_file("watched");
	file_name(path, "watched");
	fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (fd < 0) {
		not_here("inotify: %s", strerror(errno));
		return;
	}
	watch = inotify_add_watch(fd, path, IN_MODIFY);
	if (watch < 0)
		die_errno("inotify_add_watch");
	if (!touch(detail))
		die("%s", detail);
}

static bool inotify_check(char *detail)
{
	struct inotify_event event;

	if (!in_flight(detail, fd, sizeof(event)) ||
	    !get_bytes(detail, fd, &event, sizeof(event)) || !touch(detail))
		return false;
	if (event.wd != watch || event.mask != IN_MODIFY)
		return fail(detail, "watch %d, events 0x%x", event.wd,
			    event.mask);
	if (!in_flight(detail, fd, sizeof(event)))
		return false;
	return pass(detail, "an event, and a watch that sees");
}

static bool inotify_damage(char *detail)
{
	if (inotify_rm_watch(fd, watch))
		return fail_errno(detail, "inotify_rm_watch");
	return true;
}

static void inotify_end(void)
{
	if (watched >= 0)
		unlink(path);
}

WITNESS = {
	.name = "inotify",
	.kind = "files",
	.holds = "a watch, and an event that was not read",
	.damages = "removes the watch",
	.order = ORDER_MAIN,
	.arm = inotify_arm,
	.check = inotify_check,
	.damage = inotify_damage,
	.end = inotify_end,
};
