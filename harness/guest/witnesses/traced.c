// SPDX-License-Identifier: GPL-2.0-only
/* A child that is traced and stopped: its registers, read through ptrace(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static pid_t child;
static struct user_regs_struct before;
static uint64_t word;

static void traced_arm(void)
{
	int status;

	word = value_of(salt("traced", 0));
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
	    ptrace(PTRACE_GETREGS, child, NULL, &before))
		not_here("no child can be traced");
}

static bool traced_check(char *detail)
{
	struct user_regs_struct regs;
	long seen;

	if (ptrace(PTRACE_GETREGS, child, NULL, &regs))
		return fail_errno(detail, "PTRACE_GETREGS");
	for (size_t i = 0; i < sizeof(regs) / 8; i++) {
		uint64_t is = ((uint64_t *)&regs)[i];
		uint64_t was = ((uint64_t *)&before)[i];

		if (is != was)
			return fail(detail, "register %zu of user_regs_struct: 0x%llx instead of 0x%llx",
				    i, (unsigned long long)is,
				    (unsigned long long)was);
	}
	errno = 0;
	seen = ptrace(PTRACE_PEEKDATA, child, &word, NULL);
	if (errno || (uint64_t)seen != word)
		return fail(detail, "0x%lx in its memory instead of 0x%llx",
			    seen, (unsigned long long)word);
	return pass(detail, "%zu registers, at 0x%llx", sizeof(regs) / 8,
		    (unsigned long long)regs.rip);
}

static bool traced_damage(char *detail)
{
	struct user_regs_struct regs = before;

	regs.r12 ^= 1;
	if (ptrace(PTRACE_SETREGS, child, NULL, &regs))
		return fail_errno(detail, "PTRACE_SETREGS");
	return true;
}

static void traced_end(void)
{
	end_child(&child);
}

WITNESS = {
	.name = "traced",
	.kind = "process",
	.holds = "a traced child, its registers and its memory",
	.damages = "changes a register",
	.order = ORDER_CHILDREN,
	.arm = traced_arm,
	.check = traced_check,
	.damage = traced_damage,
	.end = traced_end,
};
