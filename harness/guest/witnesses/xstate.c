// SPDX-License-Identifier: GPL-2.0-only
/* The extended state of a traced child: x87 and SSE, AVX and AVX-512. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	16384
#define XMM0	160
#define FEATURES	464
#define XSTATE_BV	512
#define HEADER_END	576

static pid_t child;
static unsigned char before[BYTES];
static size_t length;

static bool get_state(unsigned char *state, size_t *bytes)
{
	struct iovec io = { .iov_base = state, .iov_len = BYTES };

	if (ptrace(PTRACE_GETREGSET, child, NT_X86_XSTATE, &io))
		return false;
	*bytes = io.iov_len;
	return true;
}

static bool set_state(unsigned char *state, size_t bytes)
{
	struct iovec io = { .iov_base = state, .iov_len = bytes };

	return !ptrace(PTRACE_SETREGSET, child, NT_X86_XSTATE, &io);
}

/* x86-64 SDM, 13.1: AVX, opmasks, the upper halves of ZMM0-15, ZMM16-31. */
static const int vectors[] = { 2, 5, 6, 7 };

/*
 * Where a part is, the processor says. XSTATE_BV: what is not in use has no
 * pattern, or the kernel would refuse it.
 */
static void fill_state(uint64_t features)
{
	uint64_t used = 3;

	fill(before + XMM0, 16 * 16, salt("xstate", 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		unsigned int size, offset, c, d;
		int part = vectors[i];

		if (!(features >> part & 1))
			continue;
		__cpuid_count(0xd, part, size, offset, c, d);
		if (offset < HEADER_END || offset + size > length)
			die("part %d of %u bytes at %u", part, size, offset);
		fill(before + offset, size, salt("xstate", part), 0);
		used |= 1ULL << part;
	}
	memcpy(before + XSTATE_BV, &used, sizeof(used));
}

static void xstate_arm(void)
{
	uint64_t features;
	int status;

	child = fork();
	if (child < 0)
		die_errno("fork");
	if (!child) {
		leave_parent();
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(1);
		raise(SIGSTOP);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
	    !get_state(before, &length)) {
		not_here("no PTRACE_GETREGSET of NT_X86_XSTATE");
		return;
	}
	/* Linux says there which features it has: arch/x86/kernel/fpu/regset.c. */
	memcpy(&features, before + FEATURES, sizeof(features));
	fill_state(features);
	if (!set_state(before, length) || !get_state(before, &length))
		die_errno("PTRACE_SETREGSET");
}

static bool xstate_check(char *detail)
{
	unsigned char is[BYTES];
	size_t bytes;

	if (!get_state(is, &bytes))
		return fail_errno(detail, "PTRACE_GETREGSET");
	if (bytes != length)
		return fail(detail, "%zu bytes instead of %zu", bytes, length);
	for (size_t i = 0; i < bytes; i++)
		if (is[i] != before[i])
			return fail(detail, "offset %zu of the XSAVE area: 0x%02x instead of 0x%02x",
				    i, is[i], before[i]);
	return pass(detail, "%zu bytes, XSTATE_BV 0x%llx", bytes,
		    (unsigned long long)*(uint64_t *)(is + XSTATE_BV));
}

static bool xstate_damage(char *detail)
{
	unsigned char changed[BYTES];

	memcpy(changed, before, length);
	changed[XMM0 + 37] ^= 16;
	if (!set_state(changed, length))
		return fail_errno(detail, "PTRACE_SETREGSET");
	return true;
}

static void xstate_end(void)
{
	end_child(&child);
}

WITNESS = {
	.name = "xstate",
	.kind = "cpu",
	.holds = "x87, SSE, AVX and AVX-512 state of a traced child",
	.damages = "flips a bit of one",
	.order = ORDER_CHILDREN,
	.arm = xstate_arm,
	.check = xstate_check,
	.damage = xstate_damage,
	.end = xstate_end,
};
