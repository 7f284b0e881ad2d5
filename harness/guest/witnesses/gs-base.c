// SPDX-License-Identifier: GPL-2.0-only
/* The base of the segment GS, which user space has for itself. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define ARCH_SET_GS	0x1001
#define ARCH_GET_GS	0x1004

static struct helper helper;
static uint64_t words[2];

static uint64_t by_gs(void)
{
	uint64_t word;

	asm volatile("movq %%gs:0, %0" : "=r" (word));
	return word;
}

static void gs_prepare(struct helper_page *page)
{
	(void)page;
	words[0] = value_of(salt("gs-base", 0));
	words[1] = value_of(salt("gs-base", 1));
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, &words[0]))
		die_errno("ARCH_SET_GS");
}

static bool gs_serve(struct helper_page *page, int what, char *detail)
{
	unsigned long base;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (syscall(SYS_arch_prctl, ARCH_SET_GS, &words[1]))
			return fail_errno(detail, "ARCH_SET_GS");
		return true;
	}
	if (syscall(SYS_arch_prctl, ARCH_GET_GS, &base))
		return fail_errno(detail, "ARCH_GET_GS");
	if (base != (unsigned long)&words[0])
		return fail(detail, "GS begins at 0x%lx instead of 0x%lx", base,
			    (unsigned long)&words[0]);
	if (by_gs() != words[0])
		return fail(detail, "0x%llx at GS instead of 0x%llx",
			    (unsigned long long)by_gs(),
			    (unsigned long long)words[0]);
	return pass(detail, "GS begins at 0x%lx", base);
}

static void gs_arm(void)
{
	helper_start(&helper, gs_prepare, gs_serve);
}

static bool gs_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool gs_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "gs-base",
	.kind = "cpu",
	.holds = "the base of GS, and what lies there",
	.damages = "sets another base",
	.order = ORDER_CHILDREN,
	.arm = gs_arm,
	.check = gs_check,
	.damage = gs_damage,
};
