// SPDX-License-Identifier: GPL-2.0-only
/* A user namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define INSIDE	5

/* One user and one group: for that, no right outside is needed. */
static bool write_maps(uid_t user, gid_t group)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "%d %d 1", INSIDE, (int)user);
	snprintf(groups, sizeof(groups), "%d %d 1", INSIDE, (int)group);
	return write_text("/proc/self/uid_map", users) &&
	       write_text("/proc/self/setgroups", "deny") &&
	       write_text("/proc/self/gid_map", groups);
}

static bool read_map(unsigned int *map)
{
	FILE *file = fopen("/proc/self/uid_map", "re");
	bool good = file && fscanf(file, "%u %u %u", &map[0], &map[1], &map[2]) == 3;

	if (file)
		fclose(file);
	return good;
}

static void user_namespace_prepare(struct helper_page *page)
{
	uid_t outside = getuid();
	gid_t group = getgid();
	struct stat st;

	if (unshare(CLONE_NEWUSER) < 0) {
		not_here("unshare(CLONE_NEWUSER): %s", strerror(errno));
		return;
	}
	if (!write_maps(outside, group)) {
		not_here("no right to map a user: %s", strerror(errno));
		return;
	}
	page->value[1] = outside;
	leave_parent();
	if (stat("/proc/self/ns/user", &st)) {
		not_here("no /proc/self/ns/user");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool user_namespace_serve(struct helper_page *page, int what, char *detail)
{
	unsigned int map[3] = { 0 };
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (unshare(CLONE_NEWUSER))
			return fail_errno(detail, "unshare");
		leave_parent();
		return true;
	}
	if (stat("/proc/self/ns/user", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	if (!read_map(map) || map[0] != INSIDE ||
	    map[1] != page->value[1] || map[2] != 1)
		return fail(detail, "uid_map %u %u %u instead of %d %lld 1",
			    map[0], map[1], map[2], INSIDE,
			    (long long)page->value[1]);
	if (getuid() != INSIDE)
		return fail(detail, "user %d instead of %d", (int)getuid(),
			    INSIDE);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void user_namespace_arm(void)
{
	helper_start(&helper, user_namespace_prepare, user_namespace_serve);
}

static bool user_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool user_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "user-namespace",
	.kind = "process",
	.holds = "a user namespace with its map of ids",
	.damages = "leaves it for another",
	.order = ORDER_CHILDREN,
	.arm = user_namespace_arm,
	.check = user_namespace_check,
	.damage = user_namespace_damage,
};
