/* SPDX-License-Identifier: GPL-2.0-only */
/* The page list of the jump: where the normal kernel's 0-16 MiB went. */
#ifndef BACKUP_H
#define BACKUP_H

#include "ranges.h"

int backup_map_read(u64 entry);
/* Where @phys of the normal kernel is now, or 0 if that is not known. */
u64 normal_phys(u64 phys);
int normal_read(u64 phys, void *buf, size_t len);
void backup_ranges(struct ranges *ranges);

#endif
