// SPDX-License-Identifier: GPL-2.0-only
/* wait4(2): a child that waits for one of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static _Atomic int32_t *grandchild;

/* It is stopped and goes on, so that it is the same process all the time. */
static int64_t block(void)
{
	pid_t child = atomic_load(grandchild);
	int status = 0;

	if (!child) {
		child = fork();
		if (child < 0)
			return -errno;
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		atomic_store(grandchild, child);
	}
	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status) ||
	    kill(child, SIGCONT))
		return -errno;
	return WSTOPSIG(status);
}

static bool wake(char *detail)
{
	if (kill(atomic_load(grandchild), SIGSTOP))
		return fail_errno(detail, "kill");
	return true;
}

static struct blocked blocked = {
	.number = SYS_wait4,
	.block = block,
	.wake = wake,
	.expected = SIGSTOP,
};

static void blocked_child_arm(void)
{
	grandchild = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (grandchild == MAP_FAILED)
		die_errno("mmap");
	blocked_start(&blocked);
}

static bool blocked_child_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_child_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_child_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-child",
	.kind = "process",
	.holds = "a child that waits for its own child",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_child_arm,
	.check = blocked_child_check,
	.damage = blocked_child_damage,
	.end = blocked_child_end,
};
