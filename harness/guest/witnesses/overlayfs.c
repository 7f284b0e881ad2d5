// SPDX-License-Identifier: GPL-2.0-only
/* overlayfs: a file of the lower layer, and one that was copied up by a change. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "options.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define BYTES	5000

static bool put(const char *path, int piece)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char bytes[BYTES];
	bool good;

	fill(bytes, BYTES, salt("overlayfs", piece), 0);
	good = fd >= 0 && write(fd, bytes, BYTES) == BYTES;
	if (fd >= 0)
		close(fd);
	return good;
}

static bool same(char *detail, const char *path, int piece)
{
	struct difference diff = { 0 };
	char bytes[BYTES + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return fail_errno(detail, path);
	n = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (n != BYTES)
		return fail(detail, "%s has %zd bytes instead of %d", path, n,
			    BYTES);
	compare(&diff, bytes, BYTES, salt("overlayfs", piece), 0);
	return !diff.differ || fail_difference(detail, path, &diff);
}

static void overlayfs_prepare(struct helper_page *page)
{
	(void)page;
	if (unshare(CLONE_NEWNS)) {
		not_here("unshare(CLONE_NEWNS): %s", strerror(errno));
		return;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("kspawn", options.dir, "tmpfs", 0, "size=256k") ||
	    chdir(options.dir) || mkdir("l", 0700) || mkdir("u", 0700) ||
	    mkdir("w", 0700) || mkdir("all", 0700) || !put("l/kept", 0) ||
	    !put("l/changed", 1) || !put("l/removed", 2))
		die_errno("the layers");
	if (mount("kspawn", "all", "overlay", 0,
		  "lowerdir=l,upperdir=u,workdir=w")) {
		not_here("no CONFIG_OVERLAY_FS: %s", strerror(errno));
		return;
	}
	if (!put("all/changed", 3) || unlink("all/removed"))
		die_errno("the overlay");
}

static bool overlayfs_serve(struct helper_page *page, int what, char *detail)
{
	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!put("all/kept", 4))
			return fail_errno(detail, "write");
		return true;
	}
	if (!same(detail, "all/kept", 0) || !same(detail, "all/changed", 3) ||
	    !same(detail, "l/changed", 1))
		return false;
	if (!access("all/removed", F_OK))
		return fail(detail, "all/removed is there");
	return pass(detail, "a file from below, one changed, one removed");
}

static void overlayfs_arm(void)
{
	helper_start(&helper, overlayfs_prepare, overlayfs_serve);
}

static bool overlayfs_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool overlayfs_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "overlayfs",
	.kind = "files",
	.holds = "an overlay: a file from below, one that was changed",
	.damages = "changes the file from below",
	.order = ORDER_CHILDREN,
	.arm = overlayfs_arm,
	.check = overlayfs_check,
	.damage = overlayfs_damage,
};
