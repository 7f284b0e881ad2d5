// SPDX-License-Identifier: GPL-2.0-only
/* A seccomp filter: one system call has an error of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static bool filter(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void seccomp_filter_prepare(struct helper_page *page)
{
	(void)page;
	if (!filter(EXFULL))
		not_here("no CONFIG_SECCOMP_FILTER: %s", strerror(errno));
}

static bool seccomp_filter_serve(struct helper_page *page, int what,
				 char *detail)
{
	long result;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (!filter(EBADE))
			return fail_errno(detail, "PR_SET_SECCOMP");
		return true;
	}
	if (prctl(PR_GET_SECCOMP) != SECCOMP_MODE_FILTER)
		return fail(detail, "mode %d", prctl(PR_GET_SECCOMP));
	errno = 0;
	result = syscall(SYS_getppid);
	if (result != -1 || errno != EXFULL)
		return fail(detail, "getppid: %ld and errno %d instead of %d",
			    result, errno, EXFULL);
	return pass(detail, "errno %d by the filter", errno);
}

static void seccomp_filter_arm(void)
{
	helper_start(&helper, seccomp_filter_prepare, seccomp_filter_serve);
}

static bool seccomp_filter_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool seccomp_filter_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "seccomp-filter",
	.kind = "process",
	.holds = "a seccomp filter that refuses a call",
	.damages = "adds one that answers otherwise",
	.order = ORDER_CHILDREN,
	.arm = seccomp_filter_arm,
	.check = seccomp_filter_check,
	.damage = seccomp_filter_damage,
};
