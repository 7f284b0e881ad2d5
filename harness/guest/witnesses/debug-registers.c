// SPDX-License-Identifier: GPL-2.0-only
/* The debug registers of a stopped child, set through ptrace(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "child.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define REGISTER(n)	(offsetof(struct user, u_debugreg) + (n) * 8)
/* Local, slot 0: a write of 8 bytes. */
#define CONTROL		0x00090001UL

static pid_t child;
static uint64_t watched;

static void debug_arm(void)
{
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
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
		not_here("ptrace does not stop a child");
		return;
	}
	if (ptrace(PTRACE_POKEUSER, child, REGISTER(0), &watched) ||
	    ptrace(PTRACE_POKEUSER, child, REGISTER(7), CONTROL))
		not_here("debug registers: %s", strerror(errno));
}

static bool debug_check(char *detail)
{
	long address, control;

	errno = 0;
	address = ptrace(PTRACE_PEEKUSER, child, REGISTER(0), NULL);
	control = ptrace(PTRACE_PEEKUSER, child, REGISTER(7), NULL);
	if (errno)
		return fail_errno(detail, "PTRACE_PEEKUSER");
	if (address != (long)&watched || (control & 0xf0003) != CONTROL)
		return fail(detail, "DR0 0x%lx, DR7 0x%lx instead of 0x%lx, 0x%lx",
			    address, control, (long)&watched, CONTROL);
	return pass(detail, "DR0 0x%lx, DR7 0x%lx", address, control);
}

static bool debug_damage(char *detail)
{
	if (ptrace(PTRACE_POKEUSER, child, REGISTER(0), (char *)&watched + 8))
		return fail_errno(detail, "PTRACE_POKEUSER");
	return true;
}

static void debug_end(void)
{
	end_child(&child);
}

WITNESS = {
	.name = "debug-registers",
	.kind = "cpu",
	.holds = "a watchpoint in the debug registers of a traced child",
	.damages = "moves it",
	.order = ORDER_CHILDREN,
	.arm = debug_arm,
	.check = debug_check,
	.damage = debug_damage,
	.end = debug_end,
};
