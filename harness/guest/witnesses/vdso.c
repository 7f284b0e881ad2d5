// SPDX-License-Identifier: GPL-2.0-only
/* The vdso: where it is, what it is, and that the time by it is the kernel's. */
#define _GNU_SOURCE
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

#define BYTES	PAGE

static const unsigned char *vdso;
static uint64_t sum;

static uint64_t vdso_sum(void)
{
	uint64_t hash = 0;

	for (size_t i = 0; i < BYTES; i++)
		hash = mix(hash, vdso[i] + i);
	return hash;
}

static void vdso_arm(void)
{
	vdso = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	if (!vdso) {
		not_here("no vdso");
		return;
	}
	sum = vdso_sum();
}

static bool vdso_check(char *detail)
{
	struct timespec ts;
	int64_t before, by_kernel, after;

	if (vdso_sum() != sum)
		return fail(detail, "it is not what it was");
	/* The C library calls the vdso. */
	before = now(CLOCK_MONOTONIC);
	if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts))
		return fail_errno(detail, "clock_gettime");
	after = now(CLOCK_MONOTONIC);
	by_kernel = ts.tv_sec * NSEC + ts.tv_nsec;
	if (by_kernel < before || by_kernel > after)
		return fail(detail, "%.6f s by the kernel, %.6f to %.6f s by it",
			    by_kernel / 1e9, before / 1e9, after / 1e9);
	return pass(detail, "at %p, its time is the kernel's", (void *)vdso);
}

/* It is nobody's to change: so what is expected of it changes. */
static bool vdso_damage(char *detail)
{
	(void)detail;
	sum ^= 1;
	return true;
}

WITNESS = {
	.name = "vdso",
	.kind = "memory",
	.holds = "the vdso, and the time by it",
	.damages = "expects another content",
	.order = ORDER_MAIN,
	.arm = vdso_arm,
	.check = vdso_check,
	.damage = vdso_damage,
};
