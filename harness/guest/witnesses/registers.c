// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread that holds known values in the processor's registers, and does
 * nothing else until it is asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "pattern.h"
#include "relay.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"
#include "xstate.h"

#ifndef __x86_64__
#error "the registers are those of x86-64"
#endif

/* All exceptions masked; not the precision and rounding of a new process. */
#define X87_CONTROL	0x0a7f	/* 53 bits, towards plus infinity */
#define MXCSR		0x7f80	/* towards zero */

static const char *const general_names[] = {
	"rax", "rbx", "rcx", "rdx", "rsi", "rbp", "r8",
	"r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

struct values {
	uint64_t general[ARRAY_SIZE(general_names)];
	int64_t x87[8];
	uint8_t vector[16][32];
	uint32_t mxcsr;
	uint16_t x87_control;
};

/* rdi points to it all the time. */
struct frame {
	struct values load, dump;
	uint64_t rbp;
	uint32_t mxcsr;
	uint16_t x87_control;
	uint32_t avx;
	_Atomic uint32_t holding;
	_Atomic uint32_t release;
};

static struct frame frame;
/* Counts the times that the spinner was told to go on, and that it dumped. */
static _Atomic uint32_t started, dumped;

#define GENERAL(op)							\
	op(rax, 0) op(rbx, 8) op(rcx, 16) op(rdx, 24) op(rsi, 32)	\
	op(rbp, 40) op(r8, 48) op(r9, 56) op(r10, 64) op(r11, 72)	\
	op(r12, 80) op(r13, 88) op(r14, 96) op(r15, 104)
#define LOAD_GENERAL(r, n)	"movq " AT(lg, n) ", %%" #r "\n\t"
#define DUMP_GENERAL(r, n)	"movq %%" #r ", " AT(dg, n) "\n\t"

/*
 * Loads all registers, spins until it is released, dumps them.  rbp may be the
 * compiler's frame pointer, which it cannot be told about: it is saved here,
 * and not on the stack, whose red zone the compiler may be using.
 */
static void hold(struct frame *f)
{
	asm volatile(
		"movq %%rbp, %c[rbp](%%rdi)\n\t"
		"stmxcsr %c[om](%%rdi)\n\t"
		"ldmxcsr %c[lm](%%rdi)\n\t"
		"fnstcw %c[oc](%%rdi)\n\t"
		"fldcw %c[lc](%%rdi)\n\t"
		LOAD_X87(0) LOAD_X87(8) LOAD_X87(16) LOAD_X87(24)
		LOAD_X87(32) LOAD_X87(40) LOAD_X87(48) LOAD_X87(56)
		"cmpl $0, %c[avx](%%rdi)\n\t"
		"je 1f\n\t"
		VECTOR(LOAD_YMM)
		"jmp 2f\n"
		"1:\n\t"
		VECTOR(LOAD_XMM)
		"2:\n\t"
		GENERAL(LOAD_GENERAL)
		"movl $1, %c[holding](%%rdi)\n"
		"3:\n\t"
		"pause\n\t"
		"cmpl $0, %c[release](%%rdi)\n\t"
		"je 3b\n\t"
		"movl $0, %c[holding](%%rdi)\n\t"
		GENERAL(DUMP_GENERAL)
		"cmpl $0, %c[avx](%%rdi)\n\t"
		"je 4f\n\t"
		VECTOR(DUMP_YMM)
		"vzeroupper\n\t"
		"jmp 5f\n"
		"4:\n\t"
		VECTOR(DUMP_XMM)
		"5:\n\t"
		"fnstcw %c[dc](%%rdi)\n\t"
		DUMP_X87(56) DUMP_X87(48) DUMP_X87(40) DUMP_X87(32)
		DUMP_X87(24) DUMP_X87(16) DUMP_X87(8) DUMP_X87(0)
		"fnclex\n\t"
		"fldcw %c[oc](%%rdi)\n\t"
		"stmxcsr %c[dm](%%rdi)\n\t"
		"ldmxcsr %c[om](%%rdi)\n\t"
		"movq %c[rbp](%%rdi), %%rbp\n\t"
		:
		: "D" (f),
		  OFFSET(lg, load.general), OFFSET(dg, dump.general),
		  OFFSET(lx, load.x87), OFFSET(dx, dump.x87),
		  OFFSET(lv, load.vector), OFFSET(dv, dump.vector),
		  OFFSET(lm, load.mxcsr), OFFSET(dm, dump.mxcsr),
		  OFFSET(lc, load.x87_control), OFFSET(dc, dump.x87_control),
		  OFFSET(rbp, rbp), OFFSET(om, mxcsr), OFFSET(oc, x87_control),
		  OFFSET(avx, avx), OFFSET(holding, holding),
		  OFFSET(release, release)
		: "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11",
		  "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3",
		  "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
		  "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)",
		  "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
		  "memory", "cc");
}

static void *spinner(void *unused)
{
	uint32_t turn = 0;

	(void)unused;
	/* To the kernel, a thread is a process here: only this one is nice. */
	if (setpriority(PRIO_PROCESS, 0, 19))
		die_errno("setpriority");
	for (;;) {
		wait_change(&started, turn);
		turn++;
		hold(&frame);
		post(&dumped, turn);
	}
	return NULL;
}

/* Returns when the registers hold their values, not only when told to. */
static bool start(void)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	int64_t deadline = now(CLOCK_MONOTONIC) + PATIENCE * NSEC;

	memset(&frame.dump, 0, sizeof(frame.dump));
	atomic_store(&frame.release, 0);
	post(&started, atomic_load(&started) + 1);
	while (!atomic_load(&frame.holding)) {
		if (now(CLOCK_MONOTONIC) > deadline)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

static bool dump(void)
{
	atomic_store(&frame.release, 1);
	return wait_until(&dumped, atomic_load(&started));
}

static void expected(struct values *values)
{
	memset(values, 0, sizeof(*values));
	fill(values, offsetof(struct values, mxcsr), salt("registers", 0), 0);
	/* Without AVX the upper halves are neither loaded nor dumped. */
	for (int i = 0; !frame.avx && i < 16; i++)
		memset(values->vector[i] + 16, 0, 16);
	values->mxcsr = MXCSR;
	values->x87_control = X87_CONTROL;
}

static void arm(void)
{
	pthread_t thread;
	int err;

	frame.avx = has_avx();
	expected(&frame.load);
	err = pthread_create(&thread, NULL, spinner, NULL);
	if (err) {
		errno = err;
		die_errno("pthread_create");
	}
	if (!start())
		die("the spinner does not run");
}

static bool differs(char *detail, const char *name, int index,
		    uint64_t is, uint64_t should)
{
	if (is == should)
		return false;
	if (index < 0)
		fail(detail, "%s: 0x%llx instead of 0x%llx", name,
		     (unsigned long long)is, (unsigned long long)should);
	else
		fail(detail, "%s%d: 0x%016llx instead of 0x%016llx", name,
		     index, (unsigned long long)is, (unsigned long long)should);
	return true;
}

static bool compare_values(char *detail)
{
	const struct values *is = &frame.dump;
	struct values want;

	expected(&want);
	for (size_t i = 0; i < ARRAY_SIZE(general_names); i++)
		if (differs(detail, general_names[i], -1, is->general[i],
			    want.general[i]))
			return false;
	for (int i = 0; i < 8; i++)
		/* What was loaded first is deepest in the stack. */
		if (differs(detail, "st", 7 - i, is->x87[i], want.x87[i]))
			return false;
	for (int i = 0; i < 16; i++) {
		uint64_t a[4], b[4];

		memcpy(a, is->vector[i], sizeof(a));
		memcpy(b, want.vector[i], sizeof(b));
		for (int j = 0; j < 4; j++) {
			char name[32];

			snprintf(name, sizeof(name), "quadword %d of %s", j,
				 frame.avx ? "ymm" : "xmm");
			if (differs(detail, name, i, a[j], b[j]))
				return false;
		}
	}
	if (differs(detail, "mxcsr", -1, is->mxcsr, want.mxcsr))
		return false;
	return !differs(detail, "x87 control word", -1, is->x87_control,
			want.x87_control);
}

static bool check(char *detail)
{
	bool same;

	if (!dump())
		return fail(detail, "the spinner does not answer");
	same = compare_values(detail);
	if (!start())
		return fail(detail, "the spinner does not go on");
	if (!same)
		return false;
	return pass(detail, "14 general, 8 x87, %s0-15, two control words",
		    frame.avx ? "ymm" : "xmm");
}

static bool damage(char *detail)
{
	if (!dump())
		return fail(detail, "the spinner does not answer");
	frame.load.vector[7][5] ^= 0x10;
	if (!start())
		return fail(detail, "the spinner does not go on");
	return true;
}

WITNESS = {
	.name = "registers",
	.kind = "cpu",
	.holds = "general, x87 and vector registers, control words",
	.damages = "flips a bit of a vector register",
	.order = ORDER_THREADS,
	.spins = true,
	.arm = arm,
	.check = check,
	.damage = damage,
};
