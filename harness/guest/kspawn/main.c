// SPDX-License-Identifier: GPL-2.0-only
/* kspawn: the program for all roles of a hibernation through kexec. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "init.h"
#include "types.h"

/*
 * In the normal kernel it loads the hibernating kernel and jumps; in the
 * spawned kernels it is init, saves and restores the memory of the normal
 * kernel, and jumps back.
 */
static const struct command *const commands[] = {
	&cmd_spawn,
	&cmd_again,
	&cmd_release,
	&cmd_jump,
	&cmd_payload,
	&cmd_clocks,
	&cmd_find_image,
	&cmd_resume_snapshot,
	&cmd_check_image,
};

static void usage(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const char *arguments = commands[i]->arguments;

		fprintf(stderr, "%s kspawn %s%s%s\n", i ? "      " : "usage:",
			commands[i]->name, arguments ? " " : "",
			arguments ? arguments : "");
	}
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		spawned_init();
	for (size_t i = 0; argc >= 2 && i < ARRAY_SIZE(commands); i++) {
		const struct command *command = commands[i];

		if (strcmp(argv[1], command->name))
			continue;
		if (argc > 2 && !command->arguments)
			break;
		return command->run(argc - 1, argv + 1);
	}
	usage();
	return 2;
}
