/* SPDX-License-Identifier: GPL-2.0-only */
/* Physical memory, through mmap(2) of /dev/mem. */
#ifndef PHYSICAL_H
#define PHYSICAL_H

#include "types.h"

int phys_open(void);
void *phys_map(u64 phys, size_t *len);
void *phys_map_only(u64 phys, size_t *len);
int phys_read(u64 phys, void *buf, size_t len);
int phys_write(u64 phys, const void *buf, size_t len);
/* What /dev/mem gives of this kernel's own memory. */
const char *dev_mem_state(void);

#endif
