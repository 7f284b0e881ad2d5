// SPDX-License-Identifier: GPL-2.0-only
/* Jumps again into the kernel that was left. */
#include <signal.h>

#include "commands.h"
#include "keeper.h"

static int run(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return signal_keeper(SIGUSR1);
}

const struct command cmd_again = {
	.name = "again",
	.run = run,
};
