// SPDX-License-Identifier: GPL-2.0-only
/* A mount namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "options.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static void mnt_namespace_prepare(struct helper_page *page)
{
	struct stat st;

	if (unshare(CLONE_NEWNS) < 0) {
		not_here("unshare(CLONE_NEWNS): %s", strerror(errno));
		return;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("kspawn", options.dir, "tmpfs", MS_NOEXEC, "size=64k") ||
	    chdir(options.dir) || mkdir("only-here", 0700))
		die_errno("mount");
	if (stat("only-here", &st))
		die_errno("stat");
	page->value[1] = st.st_dev;
	if (stat("/proc/self/ns/mnt", &st)) {
		not_here("no /proc/self/ns/mnt");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool mnt_namespace_serve(struct helper_page *page, int what, char *detail)
{
	char path[PATH_MAX];
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (umount2(options.dir, MNT_DETACH))
			return fail_errno(detail, "umount2");
		return true;
	}
	if (stat("/proc/self/ns/mnt", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	snprintf(path, sizeof(path), "%s/only-here", options.dir);
	if (stat(path, &st))
		return fail_errno(detail, "its directory");
	if ((int64_t)st.st_dev != page->value[1])
		return fail(detail, "device %lld instead of %lld",
			    (long long)st.st_dev, (long long)page->value[1]);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void mnt_namespace_arm(void)
{
	helper_start(&helper, mnt_namespace_prepare, mnt_namespace_serve);
}

static bool mnt_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool mnt_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "mnt-namespace",
	.kind = "process",
	.holds = "a mount namespace with a tmpfs and a file in it",
	.damages = "unmounts it",
	.order = ORDER_CHILDREN,
	.arm = mnt_namespace_arm,
	.check = mnt_namespace_check,
	.damage = mnt_namespace_damage,
};
