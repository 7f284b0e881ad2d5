/* SPDX-License-Identifier: GPL-2.0-only */
/* What a spawned kernel is told on its command line. */
#ifndef BOOT_OPTIONS_H
#define BOOT_OPTIONS_H

#include "types.h"

enum filter {
	FILTER_ON,
	FILTER_OFF,		/* free pages are saved as well */
	FILTER_FORCE,		/* left out even if that is known to break */
};

struct boot_options {
	char role[16];
	char disk[64];
	char fault[16];
	bool shell;
	u64 handoff;
	u64 entry;
	bool scribble;
	bool in_place;		/* restore by kexec_load(2) alone */
	bool no_dev_mem;	/* remove /dev/mem first */
	bool probe;		/* ask kexec_load(2) for what it must refuse */
	char userland[64];	/* without an image: a disk with what to go on as */
	bool plain;		/* jump straight back, save nothing */
	bool reset;		/* when saved: reset, do not power off */
	bool stay;		/* jump back so that one can come again */
	enum filter filter;
};

int parse_cmdline(struct boot_options *o);

#endif
