// SPDX-License-Identifier: GPL-2.0-only
/* A time namespace: its clock is a day ahead of that of the witness. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct helper helper;

#define DAY	86400

static int parents = -1;

static void time_namespace_prepare(struct helper_page *page)
{
	int fd;

	page->value[0] = now(CLOCK_BOOTTIME);
	parents = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC);
	if (parents < 0 || unshare(CLONE_NEWTIME)) {
		not_here("no time namespaces: %s", strerror(errno));
		return;
	}
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "boottime 86400 0", 16) != 16)
		die_errno("timens_offsets");
	close(fd);
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWTIME))
		die_errno("setns");
	close(fd);
}

static bool time_namespace_serve(struct helper_page *page, int what,
				 char *detail)
{
	double ahead = (now(CLOCK_BOOTTIME) - page->value[0]) / 1e9;

	if (what == HELPER_DAMAGE) {
		if (setns(parents, CLONE_NEWTIME))
			return fail_errno(detail, "setns");
		return true;
	}
	/* The value is from just before the question. */
	if (ahead < DAY || ahead > DAY + PATIENCE)
		return fail(detail, "%.3f s ahead instead of %d s", ahead, DAY);
	return pass(detail, "%d s ahead", DAY);
}

static void time_namespace_arm(void)
{
	helper_start(&helper, time_namespace_prepare, time_namespace_serve);
}

static bool time_namespace_check(char *detail)
{
	helper.page->value[0] = now(CLOCK_BOOTTIME);
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool time_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "time-namespace",
	.kind = "time",
	.holds = "a time namespace, a day ahead",
	.damages = "goes back to that of its parent",
	.order = ORDER_CHILDREN,
	.arm = time_namespace_arm,
	.check = time_namespace_check,
	.damage = time_namespace_damage,
};
