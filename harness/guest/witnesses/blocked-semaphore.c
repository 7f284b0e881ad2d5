// SPDX-License-Identifier: GPL-2.0-only
/* semop(2): a SysV semaphore that is zero. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static int id = -1;

static int64_t block(void)
{
	struct sembuf take = { .sem_op = -3 };
	int done;

	/* It is one of those that a stop may end: signal(7). */
	do
		done = syscall(SYS_semop, id, &take, 1);
	while (done < 0 && errno == EINTR);
	return done;
}

static bool wake(char *detail)
{
	struct sembuf give = { .sem_op = 3 };

	if (semop(id, &give, 1))
		return fail_errno(detail, "semop");
	return true;
}

static struct blocked blocked = {
	.number = SYS_semop,
	.block = block,
	.wake = wake,
	.expected = 0,
};

static void blocked_semaphore_arm(void)
{
	id = semget(IPC_PRIVATE, 1, 0600);
	if (id < 0)
		die_errno("semget");
	blocked_start(&blocked);
}

static bool blocked_semaphore_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_semaphore_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_semaphore_end(void)
{
	blocked_end(&blocked);
	if (id >= 0)
		semctl(id, 0, IPC_RMID);
	id = -1;
}

WITNESS = {
	.name = "blocked-semaphore",
	.kind = "process",
	.holds = "a child that waits in semop(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_semaphore_arm,
	.check = blocked_semaphore_check,
	.damage = blocked_semaphore_damage,
	.end = blocked_semaphore_end,
};
