// SPDX-License-Identifier: GPL-2.0-only
/* Gives up the kernel that is kept. */
#include <signal.h>

#include "commands.h"
#include "keeper.h"

static int run(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return signal_keeper(SIGTERM);
}

const struct command cmd_release = {
	.name = "release",
	.run = run,
};
