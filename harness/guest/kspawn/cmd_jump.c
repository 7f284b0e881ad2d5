// SPDX-License-Identifier: GPL-2.0-only
/* Jumps into whatever is loaded, and nothing else. */
#include <errno.h>
#include <stdio.h>

#include "commands.h"
#include "kexec.h"

static int run(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (!do_reboot(REBOOT_CMD_KSPAWN))
		return 0;
	perror("kspawn: LINUX_REBOOT_CMD_KSPAWN");
	return errno == EINVAL ? 22 : 1;
}

const struct command cmd_jump = {
	.name = "jump",
	.run = run,
};
