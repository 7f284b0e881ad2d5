// SPDX-License-Identifier: GPL-2.0-only
/* SysV shared memory, attached at two addresses and without a key any more. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/shm.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(64 * PAGE)

static int id;
static char *first, *second;

static void shm_arm(void)
{
	id = shmget(IPC_PRIVATE, BYTES, IPC_CREAT | 0640);
	if (id < 0 && errno == ENOSYS) {
		not_here("no SysV IPC");
		return;
	}
	if (id < 0)
		die_errno("shmget");
	first = shmat(id, NULL, 0);
	second = shmat(id, NULL, SHM_RDONLY);
	if (first == (void *)-1 || second == (void *)-1)
		die_errno("shmat");
	/* It goes with the last that has it attached. */
	if (shmctl(id, IPC_RMID, NULL))
		die_errno("shmctl");
	fill(first, BYTES, salt("sysv-shm", 0), 0);
}

static bool shm_check(char *detail)
{
	struct difference diff = { 0 };
	struct shmid_ds ds;

	if (shmctl(id, IPC_STAT, &ds))
		return fail_errno(detail, "shmctl");
	if (ds.shm_segsz != BYTES || ds.shm_nattch < 2 ||
	    (ds.shm_perm.mode & 0777) != 0640)
		return fail(detail, "%zu bytes, attached %lu times, mode %o",
			    ds.shm_segsz, (unsigned long)ds.shm_nattch,
			    ds.shm_perm.mode);
	compare(&diff, second, BYTES, salt("sysv-shm", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "at its second address", &diff);
	return pass(detail, "%lu bytes at two addresses", BYTES);
}

static bool shm_damage(char *detail)
{
	(void)detail;
	first[12345] ^= 2;
	return true;
}

WITNESS = {
	.name = "sysv-shm",
	.kind = "memory",
	.holds = "SysV shared memory, attached twice, removed",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = shm_arm,
	.check = shm_check,
	.damage = shm_damage,
};
