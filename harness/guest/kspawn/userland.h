/* SPDX-License-Identifier: GPL-2.0-only */
/* The normal userland, for a kernel that was booted into 0-16 MiB. */
#ifndef USERLAND_H
#define USERLAND_H

#include "types.h"

/*
 * Unpacks the archive on @disk into a new root filesystem. It is not the one
 * that is there: that was sized by the memory of the boot.
 */
int userland_unpack(const char *disk, u32 *files);
/* Goes on as the init of what was unpacked; returns only if it cannot. */
int userland_enter(void);

#endif
