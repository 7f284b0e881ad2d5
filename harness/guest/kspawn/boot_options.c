// SPDX-License-Identifier: GPL-2.0-only
/* The command line of a spawned kernel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_options.h"
#include "files.h"

static void parse_option(struct boot_options *o, const char *key,
			 const char *value)
{
	if (!strcmp(key, "kspawn.role"))
		snprintf(o->role, sizeof(o->role), "%s", value);
	else if (!strcmp(key, "kspawn.disk"))
		snprintf(o->disk, sizeof(o->disk), "%s", value);
	else if (!strcmp(key, "kspawn.shell"))
		o->shell = !strcmp(value, "1");
	else if (!strcmp(key, "kspawn.fault"))
		snprintf(o->fault, sizeof(o->fault), "%s", value);
	else if (!strcmp(key, "kspawn.handoff"))
		o->handoff = strtoull(value, NULL, 0);
	else if (!strcmp(key, "kexec_jump_back_entry"))
		o->entry = strtoull(value, NULL, 0);
	else if (!strcmp(key, "kspawn.scribble"))
		o->scribble = atoi(value);
	else if (!strcmp(key, "kspawn.in_place"))
		o->in_place = atoi(value);
	else if (!strcmp(key, "kspawn.dev_mem"))
		o->no_dev_mem = !atoi(value);
	else if (!strcmp(key, "kspawn.probe"))
		o->probe = atoi(value);
	else if (!strcmp(key, "kspawn.userland"))
		snprintf(o->userland, sizeof(o->userland), "%s", value);
	else if (!strcmp(key, "kspawn.stay"))
		o->stay = atoi(value);
	else if (!strcmp(key, "kspawn.after"))
		o->reset = !strcmp(value, "reset");
	else if (!strcmp(key, "kspawn.plain"))
		o->plain = atoi(value);
	else if (!strcmp(key, "kspawn.filter"))
		o->filter = !strcmp(value, "force") ? FILTER_FORCE :
			    !strcmp(value, "0") ? FILTER_OFF : FILTER_ON;
}

int parse_cmdline(struct boot_options *o)
{
	static char text[4096];
	char *save, *word;

	memset(o, 0, sizeof(*o));
	strcpy(o->role, "resuming");
	strcpy(o->disk, "/dev/vda");
	if (read_text("/proc/cmdline", text, sizeof(text)))
		return -1;
	for (word = strtok_r(text, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = 0;
		parse_option(o, word, value);
	}
	return 0;
}
