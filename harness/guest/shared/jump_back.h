/* SPDX-License-Identifier: GPL-2.0-only */
/* Back to where the normal kernel left. */
#ifndef JUMP_BACK_H
#define JUMP_BACK_H

#include "types.h"

int jump_back_load(u64 entry, bool keep_context);
/* Goes where jump_back_load() said. */
int jump_back_go(void);
int jump_back(u64 entry);

#endif
