// SPDX-License-Identifier: GPL-2.0-only
/* A uts namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define NAME	"kspawn-host"
#define DOMAIN	"kspawn-domain"

static void uts_namespace_prepare(struct helper_page *page)
{
	struct stat st;

	if (unshare(CLONE_NEWUTS) < 0) {
		not_here("unshare(CLONE_NEWUTS): %s", strerror(errno));
		return;
	}
	if (sethostname(NAME, sizeof(NAME) - 1) ||
	    setdomainname(DOMAIN, sizeof(DOMAIN) - 1))
		die_errno("sethostname");
	if (stat("/proc/self/ns/uts", &st)) {
		not_here("no /proc/self/ns/uts");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool uts_namespace_serve(struct helper_page *page, int what, char *detail)
{
	struct utsname names;
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (sethostname("other", 5))
			return fail_errno(detail, "sethostname");
		return true;
	}
	if (stat("/proc/self/ns/uts", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	if (uname(&names))
		return fail_errno(detail, "uname");
	if (strcmp(names.nodename, NAME) || strcmp(names.domainname, DOMAIN))
		return fail(detail, "%s and %s instead of %s and %s",
			    names.nodename, names.domainname, NAME, DOMAIN);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void uts_namespace_arm(void)
{
	helper_start(&helper, uts_namespace_prepare, uts_namespace_serve);
}

static bool uts_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool uts_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "uts-namespace",
	.kind = "process",
	.holds = "a UTS namespace with names of its own",
	.damages = "changes the host name",
	.order = ORDER_CHILDREN,
	.arm = uts_namespace_arm,
	.check = uts_namespace_check,
	.damage = uts_namespace_damage,
};
