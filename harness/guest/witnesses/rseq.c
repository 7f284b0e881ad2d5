// SPDX-License-Identifier: GPL-2.0-only
/* rseq(2): the kernel keeps the number of the CPU where a thread said. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define SIGNATURE	0x53053053
#define UNREGISTER	1

/* The first 32 bytes of struct rseq. */
static struct area {
	uint32_t cpu_id_start, cpu_id;
	uint64_t critical;
	uint32_t flags, node, mm_cid, padding;
} area __attribute__((aligned(32)));

static void rseq_prepare(struct helper_page *page)
{
	(void)page;
	area.cpu_id = -1;
	if (syscall(SYS_rseq, &area, sizeof(area), 0, SIGNATURE))
		not_here("rseq: %s", strerror(errno));
}

static bool rseq_serve(struct helper_page *page, int what, char *detail)
{
	unsigned int cpu;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (syscall(SYS_rseq, &area, sizeof(area), UNREGISTER, SIGNATURE))
			return fail_errno(detail, "rseq");
		return true;
	}
	/* The same again: EBUSY says that it is registered. */
	if (!syscall(SYS_rseq, &area, sizeof(area), 0, SIGNATURE) ||
	    errno != EBUSY)
		return fail(detail, "it was not registered any more");
	area.cpu_id = -1;
	sched_yield();
	if (syscall(SYS_getcpu, &cpu, NULL, NULL))
		return fail_errno(detail, "getcpu");
	return pass(detail, "registered, CPU %u", cpu);
}

static void rseq_arm(void)
{
	helper_start(&helper, rseq_prepare, rseq_serve);
}

static bool rseq_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool rseq_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "rseq",
	.kind = "cpu",
	.holds = "a registered restartable sequence area",
	.damages = "gives it up",
	.order = ORDER_CHILDREN,
	.arm = rseq_arm,
	.check = rseq_check,
	.damage = rseq_damage,
};
