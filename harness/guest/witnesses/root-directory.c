// SPDX-License-Identifier: GPL-2.0-only
/* chroot(2), the directory that it is in, and personality(2). */
#define _GNU_SOURCE
#include <sys/personality.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "options.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define PERSONALITY	(ADDR_NO_RANDOMIZE | UNAME26)

static void root_prepare(struct helper_page *page)
{
	struct stat st;

	if (chdir(options.dir) || chroot(".")) {
		not_here("no right to chroot");
		return;
	}
	if (personality(PERSONALITY) < 0 || stat("/", &st))
		die_errno("personality");
	page->value[0] = st.st_ino;
	page->value[1] = st.st_dev;
}

static bool root_serve(struct helper_page *page, int what, char *detail)
{
	int now_is = personality(0xffffffff);
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (personality(0) < 0)
			return fail_errno(detail, "personality");
		return true;
	}
	if (stat("/..", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0] ||
	    (int64_t)st.st_dev != page->value[1])
		return fail(detail, "it is in another root");
	if (now_is != PERSONALITY)
		return fail(detail, "personality 0x%x instead of 0x%x", now_is,
			    PERSONALITY);
	return pass(detail, "inode %lld is its root", (long long)st.st_ino);
}

static void root_arm(void)
{
	helper_start(&helper, root_prepare, root_serve);
}

static bool root_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool root_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "root-directory",
	.kind = "process",
	.holds = "a root directory and a personality of its own",
	.damages = "changes the personality",
	.order = ORDER_CHILDREN,
	.arm = root_arm,
	.check = root_check,
	.damage = root_damage,
};
