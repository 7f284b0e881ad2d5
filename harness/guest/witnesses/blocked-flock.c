// SPDX-License-Identifier: GPL-2.0-only
/* flock(2): a child waits for a lock that the witness holds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/file.h>
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
static char path[64];

static int64_t block(void)
{
	static uint32_t round;
	int own, done;

	if (!wait_until(&shared->held, ++round))
		return -1;
	own = open(path, O_RDWR | O_CLOEXEC);
	done = own < 0 ? -1 : flock(own, LOCK_EX);
	if (own >= 0)
		close(own);
	post(&shared->released, round);
	return done;
}

static bool wake(char *detail)
{
	if (flock(fd, LOCK_UN))
		return fail_errno(detail, "unlock");
	/* Then it is the witness's again, before the child wants it again. */
	if (!wait_until(&shared->released, turn))
		return fail(detail, "the child does not get the lock");
	if (flock(fd, LOCK_EX))
		return fail_errno(detail, "lock");
	post(&shared->held, ++turn);
	return true;
}

static struct blocked blocked = {
	.number = SYS_flock,
	.block = block,
	.wake = wake,
	.expected = 0,
};

static void blocked_flock_arm(void)
{
	fd = memfd_create("kspawn-lock", MFD_CLOEXEC);
	if (fd < 0)
		die_errno("memfd_create");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || flock(fd, LOCK_EX))
		die_errno("lock");
	post(&shared->held, ++turn);
	blocked_start(&blocked);
}

static bool blocked_flock_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_flock_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_flock_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-flock",
	.kind = "process",
	.holds = "a child that waits for a lock by flock(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_flock_arm,
	.check = blocked_flock_check,
	.damage = blocked_flock_damage,
	.end = blocked_flock_end,
};
