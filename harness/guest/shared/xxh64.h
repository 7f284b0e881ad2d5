/* SPDX-License-Identifier: GPL-2.0-only */
/* XXH64 with seed 0, as in the specification of xxHash. */
#ifndef XXH64_H
#define XXH64_H

#include "types.h"

/* @len: not 0, and a multiple of 32: pages are */
u64 xxh64(const void *data, size_t len);

#endif
