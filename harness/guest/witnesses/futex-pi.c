// SPDX-License-Identifier: GPL-2.0-only
/* A PI futex: its word has the holder, and the kernel says that it is held. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static _Atomic uint32_t *word_of(struct helper_page *page)
{
	return (_Atomic uint32_t *)&page->value[0];
}

static long futex_pi(struct helper_page *page, int operation)
{
	return syscall(SYS_futex, word_of(page), operation, 0, NULL, NULL, 0);
}

static void pi_prepare(struct helper_page *page)
{
	if (futex_pi(page, FUTEX_LOCK_PI))
		not_here("FUTEX_LOCK_PI: %s", strerror(errno));
}

static bool pi_serve(struct helper_page *page, int what, char *detail)
{
	if (what == HELPER_DAMAGE && futex_pi(page, FUTEX_UNLOCK_PI))
		return fail_errno(detail, "FUTEX_UNLOCK_PI");
	return pass(detail, "done");
}

static void pi_arm(void)
{
	helper_start(&helper, pi_prepare, pi_serve);
}

static bool pi_check(char *detail)
{
	uint32_t word = atomic_load(word_of(helper.page));

	if ((word & FUTEX_TID_MASK) != (uint32_t)helper.pid)
		return fail(detail, "held by %u instead of %d",
			    word & FUTEX_TID_MASK, (int)helper.pid);
	if (!futex_pi(helper.page, FUTEX_TRYLOCK_PI)) {
		futex_pi(helper.page, FUTEX_UNLOCK_PI);
		return fail(detail, "it could be taken");
	}
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		return fail_errno(detail, "FUTEX_TRYLOCK_PI");
	return pass(detail, "held by %d", (int)helper.pid);
}

static bool pi_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "futex-pi",
	.kind = "process",
	.holds = "a futex with priority inheritance that a child holds",
	.damages = "has the child let go",
	.order = ORDER_CHILDREN,
	.arm = pi_arm,
	.check = pi_check,
	.damage = pi_damage,
};
