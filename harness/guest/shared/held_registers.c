// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the jump interrupts is a system call of one task. The registers of all
 * others are in memory by then; those of this one are in the processor, or are
 * put away and loaded again by the code under test. So it is the only one that
 * can tell whether they are.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "held_registers.h"
#include "types.h"
#include "xstate.h"

#ifndef __x86_64__
#error "the registers are those of x86-64"
#endif

#define CPUID7_OSPKE	(1U << 4)
/* Not those of a new process: precision and rounding of the x87, and of SSE. */
#define X87_CONTROL	0x0a7f
#define MXCSR		0x7f80
/* Carry, parity, adjust, zero, sign, overflow; interrupts are on, bit 1 is set. */
#define FLAGS		0xad7
#define FLAGS_COMPARED	0xcff
/* All keys but the first may be read and not written. */
#define PKRU		0xaaaaaaa8
#define GS_BASE		0x00007a5a5a5a5000UL

enum {
	RBX, RBP, R8, R9, R12, R13, R14, R15,	/* free to hold anything */
	RDI, RSI, RDX, R10,			/* the arguments */
	GENERAL_REGISTERS,
};

static const char *const general_names[GENERAL_REGISTERS] = {
	"rbx", "rbp", "r8", "r9", "r12", "r13", "r14", "r15",
	"rdi", "rsi", "rdx", "r10",
};

struct values {
	u64 general[GENERAL_REGISTERS];
	u64 flags;
	int64_t x87[8];
	u8 vector[16][32];
	u32 mxcsr;
	uint16_t x87_control;
};

static struct frame {
	struct values load, dump;
	u64 rbp;
	long result;
	u32 mxcsr;
	uint16_t x87_control;
	u32 avx;
} frame;

static char lost[96], lost_keys[96];

#define FREE(op)							\
	op(rbx, 0) op(rbp, 8) op(r8, 16) op(r9, 24)			\
	op(r12, 32) op(r13, 40) op(r14, 48) op(r15, 56)
#define ARGUMENTS(op)	op(rsi, 72) op(rdx, 80) op(r10, 88)
#define X87_PUSH(op)							\
	op(0) op(8) op(16) op(24) op(32) op(40) op(48) op(56)
#define X87_POP(op)							\
	op(56) op(48) op(40) op(32) op(24) op(16) op(8) op(0)
#define LOAD(r, n)	"movq " AT(lg, n) ", %%" #r "\n\t"
#define DUMP(r, n)	"movq %%" #r ", " AT(dg, n) "\n\t"

/*
 * The frame's address is on the stack meanwhile, below the red zone: no register
 * is to be trusted. rbp may be the compiler's frame pointer, which it cannot be
 * told about.
 */
static void call(struct frame *f, long number)
{
	asm volatile(
		"movq %%rbp, %c[rbp](%%rdi)\n\t"
		"stmxcsr %c[om](%%rdi)\n\t"
		"ldmxcsr %c[lm](%%rdi)\n\t"
		"fnstcw %c[oc](%%rdi)\n\t"
		"fldcw %c[lc](%%rdi)\n\t"
		X87_PUSH(LOAD_X87)
		"cmpl $0, %c[avx](%%rdi)\n\t"
		"je 1f\n\t"
		VECTOR(LOAD_YMM)
		"jmp 2f\n"
		"1:\n\t"
		VECTOR(LOAD_XMM)
		"2:\n\t"
		"leaq -128(%%rsp), %%rsp\n\t"
		"pushq %%rdi\n\t"
		"pushq %c[lf](%%rdi)\n\t"
		FREE(LOAD) ARGUMENTS(LOAD)
		"movq " AT(lg, 64) ", %%rdi\n\t"
		"popfq\n\t"
		"syscall\n\t"
		"pushfq\n\t"
		"pushq %%rdi\n\t"
		"movq 16(%%rsp), %%rdi\n\t"
		"cld\n\t"
		"movq %%rax, %c[result](%%rdi)\n\t"
		"popq " AT(dg, 64) "\n\t"
		"popq %c[df](%%rdi)\n\t"
		"leaq 136(%%rsp), %%rsp\n\t"
		FREE(DUMP) ARGUMENTS(DUMP)
		"cmpl $0, %c[avx](%%rdi)\n\t"
		"je 3f\n\t"
		VECTOR(DUMP_YMM)
		"vzeroupper\n\t"
		"jmp 4f\n"
		"3:\n\t"
		VECTOR(DUMP_XMM)
		"4:\n\t"
		"fnstcw %c[dc](%%rdi)\n\t"
		X87_POP(DUMP_X87)
		"fninit\n\t"
		"fldcw %c[oc](%%rdi)\n\t"
		"stmxcsr %c[dm](%%rdi)\n\t"
		"ldmxcsr %c[om](%%rdi)\n\t"
		"movq %c[rbp](%%rdi), %%rbp\n\t"
		: "+D" (f), "+a" (number)
		: OFFSET(lg, load.general), OFFSET(dg, dump.general),
		  OFFSET(lf, load.flags), OFFSET(df, dump.flags),
		  OFFSET(lx, load.x87), OFFSET(dx, dump.x87),
		  OFFSET(lv, load.vector), OFFSET(dv, dump.vector),
		  OFFSET(lm, load.mxcsr), OFFSET(dm, dump.mxcsr),
		  OFFSET(lc, load.x87_control), OFFSET(dc, dump.x87_control),
		  OFFSET(rbp, rbp), OFFSET(om, mxcsr), OFFSET(oc, x87_control),
		  OFFSET(avx, avx), OFFSET(result, result)
		: "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12",
		  "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
		  "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
		  "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)",
		  "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "memory", "cc");
}

static bool has_pkru(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && c & CPUID7_OSPKE;
}

/* Each has another value, so that one in the place of another is seen. */
static void fill_values(struct values *v, const long *arguments)
{
	u64 word = 0x9e3779b97f4a7c15UL;

	memset(v, 0, sizeof(*v));
	for (int i = 0; i < GENERAL_REGISTERS; i++)
		v->general[i] = i < RDI ? word * (i + 1) : (u64)arguments[i - RDI];
	for (int i = 0; i < 8; i++)
		v->x87[i] = (int64_t)(word * (i + 20));
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 32; j++)
			/* Without AVX the upper halves are neither loaded nor dumped. */
			v->vector[i][j] = frame.avx || j < 16 ? 37 * i + 11 * j + 1 : 0;
	v->flags = FLAGS;
	v->mxcsr = MXCSR;
	v->x87_control = X87_CONTROL;
}

static void differs(char *text, const char *name, int index, u64 is, u64 should)
{
	char number[12] = "";

	if (is == should || text[0])
		return;
	if (index >= 0)
		snprintf(number, sizeof(number), "%d", index);
	snprintf(text, sizeof(lost), "%s%s: 0x%llx instead of 0x%llx", name, number,
		 (unsigned long long)is, (unsigned long long)should);
}

static void compare_values(const struct values *is, const struct values *should)
{
	for (int i = 0; i < GENERAL_REGISTERS; i++)
		differs(lost, general_names[i], -1, is->general[i], should->general[i]);
	differs(lost, "flags", -1, is->flags & FLAGS_COMPARED, should->flags & FLAGS_COMPARED);
	for (int i = 0; i < 8; i++)
		/* What was loaded first is deepest in the stack. */
		differs(lost, "st", 7 - i, is->x87[i], should->x87[i]);
	for (int i = 0; i < 16; i++) {
		u64 a[4], b[4];

		memcpy(a, is->vector[i], sizeof(a));
		memcpy(b, should->vector[i], sizeof(b));
		for (int j = 0; j < 4; j++)
			differs(lost, j < 2 ? "xmm" : "upper half of ymm", i, a[j], b[j]);
	}
	differs(lost, "mxcsr", -1, is->mxcsr, should->mxcsr);
	differs(lost, "x87 control word", -1, is->x87_control, should->x87_control);
}

long syscall_holding(long number, long a, long b, long c, long d)
{
	const long arguments[] = { a, b, c, d };
	u64 fs = 0, gs = 0, base = 0;
	bool pkru = has_pkru();
	u32 keys = pkru ? read_pkru() : 0;

	lost[0] = '\0';
	lost_keys[0] = '\0';
	frame.avx = has_avx();
	fill_values(&frame.load, arguments);
	memset(&frame.dump, 0, sizeof(frame.dump));
	if (syscall(SYS_arch_prctl, ARCH_GET_FS, &fs) ||
	    syscall(SYS_arch_prctl, ARCH_GET_GS, &gs) ||
	    syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE))
		return -1;
	if (pkru)
		write_pkru(PKRU);
	call(&frame, number);
	compare_values(&frame.dump, &frame.load);
	if (pkru) {
		differs(lost_keys, "pkru", -1, read_pkru(), PKRU);
		write_pkru(keys);
	}
	/* What is in FS already was used to come here. */
	if (!syscall(SYS_arch_prctl, ARCH_GET_FS, &base))
		differs(lost, "base of fs", -1, base, fs);
	if (!syscall(SYS_arch_prctl, ARCH_GET_GS, &base))
		differs(lost, "base of gs", -1, base, GS_BASE);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, gs))
		return -1;
	if (frame.result >= 0)
		return frame.result;
	errno = (int)-frame.result;
	return -1;
}

const char *register_lost(void)
{
	return lost[0] ? lost : NULL;
}

const char *pkru_lost(void)
{
	return lost_keys[0] ? lost_keys : NULL;
}
