/* SPDX-License-Identifier: GPL-2.0-only */
/* Restoring in place: kexec_load(2) writes, and loads what is jumped to. */
#ifndef IN_PLACE_H
#define IN_PLACE_H

#include "restore.h"

const struct memory_way *in_place_way(void);
/* Loads the page of @entry, which was put: what is left is the jump. */
int in_place_load(u64 entry);
u64 in_place_calls(void);

#endif
