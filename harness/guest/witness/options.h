/* SPDX-License-Identifier: GPL-2.0-only */
/* What the command line said. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "types.h"

struct options {
	size_t mebibytes;
	const char *dir;
	const char *socket;
	/* The one witness that is armed, NULL for all. */
	const char *only;
	bool spin;
	bool systemwide;
};

extern struct options options;

#endif
