// SPDX-License-Identifier: GPL-2.0-only
/* The checksum of the image, of the handoff and of streams. */
#include <string.h>

#include "crc32.h"
#include "types.h"

/* CRC-32 as in RFC 1952, eight bytes a step: what zlib.crc32() gives. */
u32 crc32_update(u32 crc, const void *data, size_t len)
{
	static u32 table[8][256];
	const u8 *p = data;

	if (!table[0][1]) {
		for (u32 i = 0; i < 256; i++) {
			u32 c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? 0xedb88320U ^ (c >> 1) : c >> 1;
			table[0][i] = c;
		}
		for (u32 i = 0; i < 256; i++)
			for (int k = 1; k < 8; k++)
				table[k][i] = (table[k - 1][i] >> 8) ^
					      table[0][table[k - 1][i] & 0xff];
	}
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		u64 word;
		u32 lo, hi;

		memcpy(&word, p, sizeof(word));
		lo = (u32)word ^ crc;
		hi = word >> 32;
		crc = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^
		      table[5][lo >> 16 & 0xff] ^ table[4][lo >> 24] ^
		      table[3][hi & 0xff] ^ table[2][hi >> 8 & 0xff] ^
		      table[1][hi >> 16 & 0xff] ^ table[0][hi >> 24];
	}
	while (len--)
		crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}
