// SPDX-License-Identifier: GPL-2.0-only
/* What the clocks show. */
#include <stdio.h>
#include <time.h>

#include "commands.h"
#include "types.h"

/* Three clocks in one line, in seconds: monotonic, boottime, realtime. */
static int run(int argc, char **argv)
{
	static const clockid_t clocks[] = {
		CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME,
	};
	struct timespec ts;

	(void)argc;
	(void)argv;
	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		if (clock_gettime(clocks[i], &ts)) {
			perror("kspawn: clock_gettime");
			return 1;
		}
		printf("%lld.%09ld%c", (long long)ts.tv_sec, ts.tv_nsec,
		       i == ARRAY_SIZE(clocks) - 1 ? '\n' : ' ');
	}
	return 0;
}

const struct command cmd_clocks = {
	.name = "clocks",
	.run = run,
};
