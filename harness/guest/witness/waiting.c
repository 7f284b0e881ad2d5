// SPDX-License-Identifier: GPL-2.0-only
/* Time and waiting: by the kernel's own futex, shared. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "types.h"
#include "waiting.h"

#define FUTEX_WAIT	0
#define FUTEX_WAKE	1

int64_t now(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		die_errno("clock_gettime");
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

/* The kernel's own futex, shared: it works among threads and processes. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value,
		       const struct timespec *timeout)
{
	if (syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0) &&
	    errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		die_errno("futex");
}

/* Waits for PATIENCE seconds at most. */
bool wait_until(_Atomic uint32_t *word, uint32_t value)
{
	int64_t deadline = now(CLOCK_MONOTONIC) + PATIENCE * NSEC;

	for (;;) {
		uint32_t current = atomic_load(word);
		int64_t left = deadline - now(CLOCK_MONOTONIC);
		struct timespec timeout = { left / NSEC, left % NSEC };

		if (current == value)
			return true;
		if (left <= 0)
			return false;
		futex_wait(word, current, &timeout);
	}
}

/* Waits for ever. */
void wait_change(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) == value)
		futex_wait(word, value, NULL);
}

void post(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	if (syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 0)
		die_errno("futex");
}
