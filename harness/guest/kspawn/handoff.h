/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The handoff: what the normal kernel tells the hibernating one. It lies in a
 * locked page of the process that jumps, above 16 MiB, whose address is on the
 * command line of the spawned kernel.
 */
#ifndef HANDOFF_H
#define HANDOFF_H

#include "ranges.h"

#define HANDOFF_MAGIC		"KSPAWNHO"
#define HANDOFF_VERSION		2

enum outcome {
	OUTCOME_NONE,		/* nobody came back yet */
	OUTCOME_IMAGE,		/* back from a hibernation image */
	OUTCOME_PLAIN,		/* back from a plain jump */
	OUTCOME_FAILED,		/* the image could not be saved */
};

struct handoff {
	char magic[8];
	u32 version;
	u32 crc;		/* of all that follows, up to end */
	u64 vmcoreinfo;		/* physical address, 0 where there is none */
	u64 vmcoreinfo_size;
	char release[64];
	char boot_id[40];
	struct ranges ram;
	struct ranges firmware;
	u64 memfree_pages;	/* MemFree just before the jump */
	u64 percpu_pages;	/* in the lists of the CPUs, not in MemFree */
	u32 free_matters;	/* the kernel counts on its free pages' content */
	char free_why[60];	/* how that is known */
	u32 end;
	/* Written by the spawned kernel: not part of the checksum. */
	u32 outcome;
	char status[32];
	char detail[256];
};

u32 handoff_crc(const struct handoff *handoff);

#endif
