/* SPDX-License-Identifier: GPL-2.0-only */
/* Restoring through /dev/mem. */
#ifndef DEV_MEM_H
#define DEV_MEM_H

#include "restore.h"

extern const struct memory_way dev_mem_way;

#endif
