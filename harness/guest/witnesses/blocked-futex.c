// SPDX-License-Identifier: GPL-2.0-only
/* futex(2): FUTEX_WAIT_BITSET on a shared word, with a day as its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "blocked.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static _Atomic uint32_t *word;

static int64_t block(void)
{
	uint32_t was = atomic_load(word);
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 86400;
	while (atomic_load(word) == was)
		if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET, was, &end, NULL,
			    4) && errno != EINTR && errno != EAGAIN)
			return -errno;
	return atomic_load(word) - was;
}

static bool wake(char *detail)
{
	atomic_fetch_add(word, 1);
	if (syscall(SYS_futex, word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 4) < 0)
		return fail_errno(detail, "FUTEX_WAKE_BITSET");
	return true;
}

static struct blocked blocked = {
	.number = SYS_futex,
	.block = block,
	.wake = wake,
	.expected = 1,
};

static void blocked_futex_arm(void)
{
	word = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (word == MAP_FAILED)
		die_errno("mmap");
	blocked_start(&blocked);
}

static bool blocked_futex_check(char *detail)
{
	return blocked_check(detail, &blocked);
}

static bool blocked_futex_damage(char *detail)
{
	return blocked_damage(detail, &blocked);
}

static void blocked_futex_end(void)
{
	blocked_end(&blocked);
}

WITNESS = {
	.name = "blocked-futex",
	.kind = "process",
	.holds = "a child that waits in futex(2)",
	.damages = "lets it come back once",
	.order = ORDER_CHILDREN,
	.arm = blocked_futex_arm,
	.check = blocked_futex_check,
	.damage = blocked_futex_damage,
	.end = blocked_futex_end,
};
