// SPDX-License-Identifier: GPL-2.0-only
/* vfork(2): a child that waits until its own has ended, and cannot be stopped. */
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

static int64_t block(void)
{
	pid_t child = vfork();
	int status = 0;

	if (child < 0)
		return -1;
	if (!child) {
		syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		atomic_store(grandchild, syscall(SYS_getpid));
		for (;;)
			syscall(SYS_pause);
	}
	if (waitpid(child, &status, 0) != child)
		return -errno;
	return WIFSIGNALED(status) ? WTERMSIG(status) : -2;
}

static bool wake(char *detail)
{
	pid_t pid = 0;

	/* Its parent is in the call before it says which process it is. */
	for (int i = 0; !pid && i < PATIENCE * 1000; i++) {
		pid = atomic_exchange(grandchild, 0);
		if (!pid)
			usleep(1000);
	}
	if (!pid || kill(pid, SIGUSR2))
		return fail(detail, "process %d of vfork is not there",
			    (int)pid);
	return true;
}

static struct blocked blocked = {
	.number = SYS_vfork,
	.block = block,
	.wake = wake,
	.expected = SIGUSR2,
};

static void blocked_vfork_arm(void)
{
	grandchild = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (grandchild == MAP_FAILED)
		die_errno("mmap");
	blocked_start(&blocked);
}

static bool blocked_vfork_check(char *detail)
{
	/* A process that ends and comes again would not be the same in /proc. */
	return blocked_still(detail, &blocked);
}

static bool blocked_vfork_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_vfork_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-vfork",
	.kind = "process",
	.holds = "a child that waits in vfork(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_vfork_arm,
	.check = blocked_vfork_check,
	.damage = blocked_vfork_damage,
	.end = blocked_vfork_end,
};
