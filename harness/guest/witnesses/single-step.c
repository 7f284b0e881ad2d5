// SPDX-License-Identifier: GPL-2.0-only
/* A traced child that is single-stepped: the next step is one instruction, not more. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static pid_t child;
static unsigned long expected;

/* Instructions of a byte each, and a jump back to the first. */
static _Noreturn void slide(void)
{
	__asm__ volatile("1:	nop\n"
			 "	nop\n"
			 "	nop\n"
			 "	nop\n"
			 "	jmp 1b\n");
	__builtin_unreachable();
}

static bool where(struct user_regs_struct *regs)
{
	return !ptrace(PTRACE_GETREGS, child, NULL, regs);
}

static bool step(void)
{
	struct user_regs_struct regs;
	int status;

	if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) ||
	    waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status) ||
	    WSTOPSIG(status) != SIGTRAP || !where(&regs))
		return false;
	expected = regs.rip;
	return true;
}

static void single_step_arm(void)
{
	struct user_regs_struct regs;
	int status;

	child = fork();
	if (child < 0)
		die_errno("fork");
	if (!child) {
		leave_parent();
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(1);
		raise(SIGSTOP);
		slide();
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) ||
	    !where(&regs)) {
		not_here("no child can be traced");
		return;
	}
	regs.rip = (unsigned long)slide;
	regs.orig_rax = -1;
	if (ptrace(PTRACE_SETREGS, child, NULL, &regs))
		die_errno("PTRACE_SETREGS");
	if (!step())
		die_errno("PTRACE_SINGLESTEP");
}

static bool single_step_check(char *detail)
{
	struct user_regs_struct regs;
	unsigned long was = expected;

	if (!where(&regs))
		return fail_errno(detail, "PTRACE_GETREGS");
	if (regs.rip != was)
		return fail(detail, "rip 0x%lx instead of 0x%lx",
			    (unsigned long)regs.rip, was);
	if (!step())
		return fail(detail, "from rip 0x%lx it does not step", was);
	/* One nop further, or from the jump back to the first of them. */
	if (expected != was + 1 && expected > was)
		return fail(detail, "a step from rip 0x%lx to 0x%lx instead of 0x%lx",
			    was, expected, was + 1);
	return pass(detail, "a step from rip 0x%lx to 0x%lx", was, expected);
}

static bool single_step_damage(char *detail)
{
	unsigned long was = expected;
	bool good = step();

	expected = was;
	if (!good)
		return fail_errno(detail, "PTRACE_SINGLESTEP");
	return true;
}

static void single_step_end(void)
{
	end_child(&child);
}

WITNESS = {
	.name = "single-step",
	.kind = "cpu",
	.holds = "a traced child in the middle of a single step",
	.damages = "steps it once more",
	.order = ORDER_CHILDREN,
	.arm = single_step_arm,
	.check = single_step_check,
	.damage = single_step_damage,
	.end = single_step_end,
};
