// SPDX-License-Identifier: GPL-2.0-only
/* fcntl(2): a child waits for a lock that the witness holds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct {
	_Atomic uint32_t held, released;
} *shared;
static uint32_t turn;
static int fd;

static int lock(int type)
{
	struct flock range = { .l_type = type, .l_start = 100, .l_len = 10 };

	return fcntl(fd, F_SETLKW, &range);
}

static int64_t block(void)
{
	static uint32_t round;
	int done;

	if (!wait_until(&shared->held, ++round))
		return -1;
	done = lock(F_WRLCK) || lock(F_UNLCK);
	post(&shared->released, round);
	return done;
}

static bool wake(char *detail)
{
	if (lock(F_UNLCK))
		return fail_errno(detail, "unlock");
	/* Then it is the witness's again, before the child wants it again. */
	if (!wait_until(&shared->released, turn))
		return fail(detail, "the child does not get the lock");
	if (lock(F_WRLCK))
		return fail_errno(detail, "lock");
	post(&shared->held, ++turn);
	return true;
}

static struct blocked blocked = {
	.number = SYS_fcntl,
	.block = block,
	.wake = wake,
	.expected = 0,
};

static void blocked_lock_arm(void)
{
	fd = memfd_create("kspawn-lock", MFD_CLOEXEC);
	if (fd < 0)
		die_errno("memfd_create");
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || lock(F_WRLCK))
		die_errno("lock");
	post(&shared->held, ++turn);
	blocked.keep[0] = fd;
	blocked_start(&blocked);
}

static bool blocked_lock_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_lock_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_lock_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-lock",
	.kind = "process",
	.holds = "a child that waits for a lock by fcntl(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_lock_arm,
	.check = blocked_lock_check,
	.damage = blocked_lock_damage,
	.end = blocked_lock_end,
};
