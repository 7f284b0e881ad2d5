// SPDX-License-Identifier: GPL-2.0-only
/* A pid namespace: its first process is number 1 in it, and has a number outside. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct helper helper;

static struct {
	_Atomic uint32_t asked, told;
	int pid;
} *shared;
static pid_t first;

static _Noreturn void be_first(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	for (uint32_t turn = 0;; turn++) {
		post(&shared->told, turn + 1);
		wait_change(&shared->asked, turn);
		shared->pid = getpid();
	}
}

static void pid_namespace_prepare(struct helper_page *page)
{
	(void)page;
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die_errno("mmap");
	if (unshare(CLONE_NEWPID)) {
		not_here("unshare(CLONE_NEWPID): %s", strerror(errno));
		return;
	}
	first = fork();
	if (first < 0)
		die_errno("fork");
	if (!first)
		be_first();
	/* From then on it ends with its parent. */
	if (!wait_until(&shared->told, 1))
		die("process 1 does not start");
}

static bool pid_namespace_serve(struct helper_page *page, int what,
				char *detail)
{
	uint32_t turn = atomic_load(&shared->asked) + 1;
	int status;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (kill(first, SIGKILL) || waitid(P_PID, first, NULL, WEXITED | WNOWAIT))
			return fail_errno(detail, "kill");
		return true;
	}
	if (waitpid(first, &status, WNOHANG))
		return fail(detail, "process 1 ended with status 0x%x", status);
	shared->pid = 0;
	post(&shared->asked, turn);
	if (!wait_until(&shared->told, turn + 1))
		return fail(detail, "process 1 does not answer");
	if (shared->pid != 1)
		return fail(detail, "process %d instead of 1", shared->pid);
	return pass(detail, "process 1 is %d outside", (int)first);
}

static void pid_namespace_arm(void)
{
	helper_start(&helper, pid_namespace_prepare, pid_namespace_serve);
}

static bool pid_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool pid_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "pid-namespace",
	.kind = "process",
	.holds = "a pid namespace with its own process 1",
	.damages = "ends that process",
	.order = ORDER_CHILDREN,
	.arm = pid_namespace_arm,
	.check = pid_namespace_check,
	.damage = pid_namespace_damage,
};
