/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CHUNK_SUM_H
#define CHUNK_SUM_H

#include "types.h"

/* The checksum of a chunk of an image of format @version. */
u32 chunk_sum(u32 version, const void *data, size_t len);

#endif
