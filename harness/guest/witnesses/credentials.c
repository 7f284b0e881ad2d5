// SPDX-License-Identifier: GPL-2.0-only
/* Other ids than those of root, few capabilities, securebits. */
#define _GNU_SOURCE
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

/* From include/uapi/linux/securebits.h and capability.h. */
#define KEEP_CAPS_LOCKED	(1 << 5)
#define NO_SETUID_FIXUP		(1 << 2)
#define BITS			(KEEP_CAPS_LOCKED | NO_SETUID_FIXUP)
#define CAP_SYS_PACCT		20
#define CAP_SYS_TTY_CONFIG	26

static const gid_t wanted[] = { 17, 1234, 70000 };

static void credentials_prepare(struct helper_page *page)
{
	(void)page;
	if (geteuid() || prctl(PR_SET_SECUREBITS, BITS)) {
		not_here("not root");
		return;
	}
	if (prctl(PR_CAPBSET_DROP, CAP_SYS_TTY_CONFIG) ||
	    setgroups(ARRAY_SIZE(wanted), wanted) ||
	    setresgid(11, 12, 13) || setresuid(0, 1002, 1003))
		die_errno("credentials");
	leave_parent();
}

static bool credentials_serve(struct helper_page *page, int what, char *detail)
{
	gid_t groups[8], r, e, s;
	uid_t ru, eu, su;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (prctl(PR_CAPBSET_DROP, CAP_SYS_PACCT))
			return fail_errno(detail, "PR_CAPBSET_DROP");
		return true;
	}
	if (getresgid(&r, &e, &s) || getresuid(&ru, &eu, &su))
		return fail_errno(detail, "getresuid");
	if (r != 11 || e != 12 || s != 13 || ru || eu != 1002 || su != 1003)
		return fail(detail, "users %u %u %u, groups %u %u %u", ru, eu,
			    su, r, e, s);
	if (getgroups(8, groups) != (int)ARRAY_SIZE(wanted) ||
	    memcmp(groups, wanted, sizeof(wanted)))
		return fail(detail, "other supplementary groups");
	if (prctl(PR_GET_SECUREBITS) != BITS)
		return fail(detail, "securebits 0x%x instead of 0x%x",
			    prctl(PR_GET_SECUREBITS), BITS);
	if (prctl(PR_CAPBSET_READ, CAP_SYS_TTY_CONFIG) != 0 ||
	    prctl(PR_CAPBSET_READ, CAP_SYS_PACCT) != 1)
		return fail(detail, "another bounding set");
	return pass(detail, "6 ids, 3 groups, securebits 0x%x", BITS);
}

static void credentials_arm(void)
{
	helper_start(&helper, credentials_prepare, credentials_serve);
}

static bool credentials_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool credentials_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "credentials",
	.kind = "process",
	.holds = "ids, groups, capabilities, securebits",
	.damages = "drops a capability from the bounding set",
	.order = ORDER_CHILDREN,
	.arm = credentials_arm,
	.check = credentials_check,
	.damage = credentials_damage,
};
