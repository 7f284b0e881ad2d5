// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child, blocked on a futex in shared memory, with memory of which it shares
 * one half with its parent and has written the other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "answer.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

#define COW_BYTES	(1UL << 20)
#define COW_HALF	(COW_BYTES / 2)

enum { ORDER_CHECK, ORDER_DAMAGE };

static struct shared {
	_Atomic uint32_t order, answer;
	int what;
	bool good;
	char detail[DETAIL];
} *shared;

static char *cow;
static pid_t child;

static _Noreturn void child_main(pid_t parent)
{
	pid_t self = getpid();

	leave_parent();
	fill(cow + COW_HALF, COW_HALF, salt("futex-shared", 1), COW_HALF);
	for (uint32_t order = 0;; order++) {
		struct difference diff = { 0 };

		post(&shared->answer, order + 1);
		wait_change(&shared->order, order);
		shared->good = true;
		if (shared->what == ORDER_DAMAGE) {
			cow[COW_HALF + 4242] ^= 8;
			continue;
		}
		compare(&diff, cow, COW_HALF, salt("futex-shared", 0), 0);
		compare(&diff, cow + COW_HALF, COW_HALF, salt("futex-shared", 1), COW_HALF);
		if (diff.differ)
			shared->good = fail_difference(shared->detail,
						       "memory of the child",
						       &diff);
		else if (getpid() != self || getppid() != parent)
			shared->good = fail(shared->detail,
					    "child %d of %d instead of %d of %d",
					    (int)getpid(), (int)getppid(),
					    (int)self, (int)parent);
	}
}

static bool ask_child(char *detail, int what)
{
	uint32_t order = atomic_load(&shared->order) + 1;
	int status;
	pid_t pid = waitpid(child, &status, WNOHANG);

	if (pid < 0)
		return fail_errno(detail, "waitpid");
	if (pid)
		return fail(detail, "the child ended with status 0x%x", status);
	shared->what = what;
	post(&shared->order, order);
	if (!wait_until(&shared->answer, order + 1))
		return fail(detail, "the child does not answer");
	return shared->good ? true : fail(detail, "%s", shared->detail);
}

static void futex_shared_arm(void)
{
	pid_t parent = getpid();

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cow = mmap(NULL, COW_BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || cow == MAP_FAILED)
		die_errno("mmap");
	fill(cow, COW_BYTES, salt("futex-shared", 0), 0);
	child = fork();
	if (child < 0)
		die_errno("fork");
	if (!child)
		child_main(parent);
	if (!wait_until(&shared->answer, 1))
		die("the child does not start");
}

static bool futex_shared_check(char *detail)
{
	struct difference diff = { 0 };

	if (!ask_child(detail, ORDER_CHECK))
		return false;
	compare(&diff, cow, COW_BYTES, salt("futex-shared", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "memory of the parent", &diff);
	return pass(detail, "a child, 1 MiB copied on write");
}

static bool futex_shared_damage(char *detail)
{
	return ask_child(detail, ORDER_DAMAGE);
}

static void end_child(void)
{
	if (child <= 0)
		return;
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	child = 0;
}

WITNESS = {
	.name = "futex-shared",
	.kind = "process",
	.holds = "a child on a shared futex, memory copied on write",
	.damages = "flips a bit of the child's own memory",
	.order = ORDER_CHILDREN,
	.arm = futex_shared_arm,
	.check = futex_shared_check,
	.damage = futex_shared_damage,
	.end = end_child,
};
