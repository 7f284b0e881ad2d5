// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checksums of the image's chunks. XXH64 takes four multiplications for 32
 * bytes; the tables of a CRC-32 cost an emulated CPU several times as much.
 */
#include "chunk_sum.h"
#include "crc32.h"
#include "image_format.h"
#include "types.h"
#include "xxh64.h"

u32 chunk_sum(u32 version, const void *data, size_t len)
{
	return version == FORMAT_CRC32 ? crc32_update(0, data, len) :
					 (u32)xxh64(data, len);
}
