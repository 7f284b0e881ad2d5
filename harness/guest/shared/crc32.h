/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC-32 as in RFC 1952: what zlib.crc32() gives. */
#ifndef CRC32_H
#define CRC32_H

#include "types.h"

u32 crc32_update(u32 crc, const void *data, size_t len);

#endif
