// SPDX-License-Identifier: GPL-2.0-only
/* binfmt_misc: a format that is registered in a user namespace, whose own it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "files.h"
#include "helper.h"
#include "options.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define FORMAT	":kspawn:M::kspawn\\x01::/bin/true:"

/* Before Linux 6.7 there was one for all: fs/binfmt_misc.c, commit 21ca59b365c0. */
static void binfmt_prepare(struct helper_page *page)
{
	char users[32], groups[32];

	(void)page;
	snprintf(users, sizeof(users), "0 %d 1", (int)getuid());
	snprintf(groups, sizeof(groups), "0 %d 1", (int)getgid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) ||
	    !write_text("/proc/self/uid_map", users) ||
	    !write_text("/proc/self/setgroups", "deny") ||
	    !write_text("/proc/self/gid_map", groups)) {
		not_here("no user namespace: %s", strerror(errno));
		return;
	}
	leave_parent();
	if (mount("kspawn", options.dir, "binfmt_misc", 0, NULL)) {
		not_here("no CONFIG_BINFMT_MISC in a user namespace: %s",
			 strerror(errno));
		return;
	}
	if (chdir(options.dir) || !write_text("register", FORMAT))
		not_here("register: %s", strerror(errno));
}

static bool binfmt_serve(struct helper_page *page, int what, char *detail)
{
	static const char wanted[] = "enabled\ninterpreter /bin/true\n";
	char text[256] = "";
	int fd;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!write_text("kspawn", "0"))
			return fail_errno(detail, "write");
		return true;
	}
	fd = open("kspawn", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		fail_errno(detail, "its entry");
	if (fd >= 0)
		close(fd);
	if (strncmp(text, wanted, sizeof(wanted) - 1))
		return fail(detail, "%.40s instead of %s", text, wanted);
	if (!strstr(text, "magic 6b737061776e01"))
		return fail(detail, "another magic: %.120s", text);
	return pass(detail, "enabled, for its magic");
}

static void binfmt_arm(void)
{
	helper_start(&helper, binfmt_prepare, binfmt_serve);
}

static bool binfmt_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool binfmt_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "binfmt",
	.kind = "process",
	.holds = "a binary format of its own",
	.damages = "turns it off",
	.order = ORDER_CHILDREN,
	.arm = binfmt_arm,
	.check = binfmt_check,
	.damage = binfmt_damage,
};
