// SPDX-License-Identifier: GPL-2.0-only
/* The list of robust futexes that the kernel has of a thread. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

/* struct robust_list_head of include/uapi/linux/futex.h. */
static struct head {
	void *next;
	long offset;
	void *pending;
} head = { &head, 0, NULL };

static void robust_prepare(struct helper_page *page)
{
	(void)page;
	if (syscall(SYS_set_robust_list, &head, sizeof(head)))
		not_here("set_robust_list: %s", strerror(errno));
}

static bool robust_serve(struct helper_page *page, int what, char *detail)
{
	struct head *is = NULL;
	size_t len = 0;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (syscall(SYS_set_robust_list, NULL, sizeof(head)))
			return fail_errno(detail, "set_robust_list");
		return true;
	}
	if (syscall(SYS_get_robust_list, 0, &is, &len))
		return fail_errno(detail, "get_robust_list");
	if (is != &head || len != sizeof(head))
		return fail(detail, "at %p, %zu bytes, instead of %p", (void *)is,
			    len, (void *)&head);
	return pass(detail, "at %p", (void *)is);
}

static void robust_arm(void)
{
	helper_start(&helper, robust_prepare, robust_serve);
}

static bool robust_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool robust_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "robust-list",
	.kind = "process",
	.holds = "a list of robust futexes",
	.damages = "gives it up",
	.order = ORDER_CHILDREN,
	.arm = robust_arm,
	.check = robust_check,
	.damage = robust_damage,
};
