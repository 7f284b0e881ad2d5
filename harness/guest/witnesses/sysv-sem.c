// SPDX-License-Identifier: GPL-2.0-only
/* SysV semaphores: values, and that of a child which is to be undone at its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/sem.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;
static int id = -1;

static int value_at(unsigned int i)
{
	return 1 + value_of(salt("sysv-sem", i)) % 1000;
}

static void sem_prepare(struct helper_page *page)
{
	struct sembuf undo = { .sem_num = 2, .sem_op = 5, .sem_flg = SEM_UNDO };

	(void)page;
	if (semop(id, &undo, 1))
		die_errno("semop");
}

static bool sem_serve(struct helper_page *page, int what, char *detail)
{
	(void)page;
	(void)what;
	return pass(detail, "it answers");
}

static void sem_arm(void)
{
	id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	if (id < 0 && errno == ENOSYS) {
		not_here("no SysV IPC");
		return;
	}
	if (id < 0)
		die_errno("semget");
	for (int i = 0; i < 3; i++)
		if (semctl(id, i, SETVAL, value_at(i)))
			die_errno("semctl");
	helper_start(&helper, sem_prepare, sem_serve);
}

static bool sem_check(char *detail)
{
	for (int i = 0; i < 3; i++) {
		int value = semctl(id, i, GETVAL);
		int wanted = value_at(i) + (i == 2 ? 5 : 0);

		if (value != wanted)
			return fail(detail, "semaphore %d is %d instead of %d",
				    i, value, wanted);
	}
	if (semctl(id, 2, GETPID) != helper.pid)
		return fail(detail, "process %d was the last instead of %d",
			    semctl(id, 2, GETPID), (int)helper.pid);
	return pass(detail, "3 values, one undo");
}

static bool sem_damage(char *detail)
{
	if (semctl(id, 1, SETVAL, value_at(1) + 1))
		return fail_errno(detail, "semctl");
	return true;
}

static void sem_end(void)
{
	if (id >= 0)
		semctl(id, 0, IPC_RMID);
}

WITNESS = {
	.name = "sysv-sem",
	.kind = "ipc",
	.holds = "SysV semaphores, one changed by a child with an undo",
	.damages = "changes a value",
	.order = ORDER_CHILDREN,
	.arm = sem_arm,
	.check = sem_check,
	.damage = sem_damage,
	.end = sem_end,
};
