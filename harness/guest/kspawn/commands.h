/* SPDX-License-Identifier: GPL-2.0-only */
/* The commands of the program: a file each, listed in main.c. */
#ifndef COMMANDS_H
#define COMMANDS_H

struct command {
	const char *name;
	const char *arguments;	/* for the usage; NULL: it takes none */
	/* The exit code; 2: wrong usage, which getopt(3) has complained about. */
	int (*run)(int argc, char **argv);
};

extern const struct command cmd_spawn, cmd_again, cmd_release, cmd_jump;
extern const struct command cmd_payload, cmd_clocks, cmd_find_image;
extern const struct command cmd_resume_snapshot, cmd_check_image;

#endif
