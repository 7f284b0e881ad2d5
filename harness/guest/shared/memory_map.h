/* SPDX-License-Identifier: GPL-2.0-only */
/* What memory there is, by the kernel and by the firmware. */
#ifndef MEMORY_MAP_H
#define MEMORY_MAP_H

#include "ranges.h"

int read_iomem(const char *name, struct ranges *ranges);
int read_firmware_map(struct ranges *ranges);

#endif
