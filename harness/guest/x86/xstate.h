/* SPDX-License-Identifier: GPL-2.0-only */
/* The processor's vector registers and protection keys, for whoever holds them. */
#ifndef XSTATE_H
#define XSTATE_H

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>

#define XCR0_SSE_AVX	0x6

/* For the names of operands lv, dv, lx and dx, and a frame in rdi. */
#define AT(base, n)	"%c[" #base "]+" #n "(%%rdi)"
#define VECTOR(op)							\
	op(0, 0) op(1, 32) op(2, 64) op(3, 96) op(4, 128) op(5, 160)	\
	op(6, 192) op(7, 224) op(8, 256) op(9, 288) op(10, 320)		\
	op(11, 352) op(12, 384) op(13, 416) op(14, 448) op(15, 480)
#define LOAD_XMM(r, n)	"movups " AT(lv, n) ", %%xmm" #r "\n\t"
#define DUMP_XMM(r, n)	"movups %%xmm" #r ", " AT(dv, n) "\n\t"
#define LOAD_YMM(r, n)	"vmovups " AT(lv, n) ", %%ymm" #r "\n\t"
#define DUMP_YMM(r, n)	"vmovups %%ymm" #r ", " AT(dv, n) "\n\t"
#define LOAD_X87(n)	"fildll " AT(lx, n) "\n\t"
#define DUMP_X87(n)	"fistpll " AT(dx, n) "\n\t"

#define OFFSET(name, member)						\
	[name] "i" (offsetof(struct frame, member))

static inline bool has_avx(void)
{
	unsigned int a, b, c, d, low, high;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return false;
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return false;
	asm volatile("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
	return (low & XCR0_SSE_AVX) == XCR0_SSE_AVX;
}

static inline uint32_t read_pkru(void)
{
	uint32_t value, high;

	asm volatile(".byte 0x0f, 0x01, 0xee" : "=a" (value), "=d" (high) : "c" (0));
	return value;
}

static inline void write_pkru(uint32_t value)
{
	asm volatile(".byte 0x0f, 0x01, 0xef" : : "a" (value), "c" (0), "d" (0) : "memory");
}

#endif
