/* SPDX-License-Identifier: GPL-2.0-only */
/* What became of the memory above 16 MiB. */
#ifndef GROW_H
#define GROW_H

#include "types.h"

struct grown {
	u64 block_bytes;
	u32 added;		/* blocks */
	u32 refused;
	u64 left_bytes;		/* RAM that makes no whole block */
};

int memory_grow(struct grown *grown);

#endif
