// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of the witness.
 *
 * Everything that it says is one line of JSON on the standard output, but for
 * `list` without --json.  Exit codes: 0 good, 1 a check failed, 2 wrong usage or
 * request, 3 the witness could not be set up, 4 the witness cannot be reached.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alarms.h"
#include "churn.h"
#include "client.h"
#include "exit_codes.h"
#include "launcher.h"
#include "locks.h"
#include "options.h"
#include "processes.h"
#include "registry.h"
#include "relay.h"
#include "types.h"

#define REQUEST		128

static int usage(void)
{
	fputs("usage: witness run [--mebibytes N] [--dir DIR] [--socket PATH] [--no-spin]\n"
	      "                   [--no-systemwide] [--only CHECK]\n"
	      "       witness check [--socket PATH]\n"
	      "       witness locate [--socket PATH] PAGE\n"
	      "       witness damage [--socket PATH] CHECK\n"
	      "       witness stop [--socket PATH]\n"
	      "       witness list [--json]\n"
	      "       witness processes\n"
	      "       witness churn start MEBIBYTES | holes MEBIBYTES | check | stop\n"
	      "       witness alarms SECONDS\n"
	      "       witness lock hold | try posix | ofd | flock FILE\n", stderr);
	return WRONG_USAGE;
}

/* The witness changes its directory, so its paths must be absolute. */
static const char *absolute(const char *path)
{
	char cwd[PATH_MAX], *full;

	if (*path == '/')
		return path;
	if (!getcwd(cwd, sizeof(cwd)) ||
	    asprintf(&full, "%s/%s", cwd, path) < 0)
		return NULL;
	return full;
}

/* Returns the argument of the command, NULL if there is none; *ok: all is right. */
static const char *parse(int argc, char **argv, bool running, bool *ok)
{
	const char *argument = NULL;

	*ok = true;
	for (int i = 2; i < argc && *ok; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--socket") && value) {
			options.socket = value;
			i++;
		} else if (running && !strcmp(argv[i], "--dir") && value) {
			options.dir = value;
			i++;
		} else if (running && !strcmp(argv[i], "--mebibytes") &&
			   value) {
			char *end;

			errno = 0;
			options.mebibytes = strtoul(value, &end, 10);
			/* A page's first word has 24 bits for its number. */
			*ok = !errno && !*end && options.mebibytes &&
			      options.mebibytes <= 65536;
			i++;
		} else if (running && !strcmp(argv[i], "--only") && value) {
			options.only = value;
			*ok = witness_named(value);
			i++;
		} else if (running && !strcmp(argv[i], "--no-spin")) {
			options.spin = false;
		} else if (running && !strcmp(argv[i], "--no-systemwide")) {
			options.systemwide = false;
		} else if (!argument && argv[i][0] != '-') {
			argument = argv[i];
		} else {
			*ok = false;
		}
	}
	return argument;
}

static int list(int argc, char **argv)
{
	bool json = argc == 3 && !strcmp(argv[2], "--json");

	if (argc > 3 || (argc == 3 && !json))
		return usage();
	put_list(stdout, json);
	return fflush(stdout) ? WRONG_USAGE : GOOD;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	bool running = !strcmp(command, "run"), ok;
	char request[REQUEST];
	const char *argument;

	if (!strcmp(command, "churn")) {
		int status = churn(argc - 2, argv + 2);

		return status == WRONG_USAGE ? usage() : status;
	}
	if (!strcmp(command, "alarms")) {
		int status = alarms(argc - 2, argv + 2);

		return status == WRONG_USAGE ? usage() : status;
	}
	if (!strcmp(command, "lock")) {
		int status = locks(argc - 2, argv + 2);

		return status == WRONG_USAGE ? usage() : status;
	}
	if (!strcmp(command, "list"))
		return list(argc, argv);
	if (!strcmp(command, "processes") && argc == 2)
		return processes();
	argument = parse(argc, argv, running, &ok);
	if (!ok)
		return usage();
	options.socket = absolute(options.socket);
	options.dir = absolute(options.dir);
	if (!options.socket || !options.dir)
		return error(WRONG_USAGE, "getcwd: %s", strerror(errno));

	if (!strcmp(command, "locate") || !strcmp(command, "damage")) {
		if (!argument || strlen(argument) > REQUEST - 16)
			return usage();
		snprintf(request, sizeof(request), "%s %.*s\n", command,
			 REQUEST - 16, argument);
		return ask(request);
	}
	if (argument)
		return usage();
	if (running)
		return run();
	if (!strcmp(command, "check"))
		return ask("check\n");
	if (!strcmp(command, "stop"))
		return ask("stop\n");
	return usage();
}
