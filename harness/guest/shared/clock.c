// SPDX-License-Identifier: GPL-2.0-only
/* The clock. */
#include <time.h>

#include "clock.h"
#include "types.h"

u64 monotonic_ms(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		return 0;
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}
