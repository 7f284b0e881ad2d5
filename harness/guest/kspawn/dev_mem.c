// SPDX-License-Identifier: GPL-2.0-only
/* Restoring through /dev/mem. */
#include "dev_mem.h"
#include "physical.h"
#include "restore.h"
#include "types.h"

/*
 * By vectors and not by memset(3): musl's is `rep stosq`, which an emulator
 * takes one word at a time. Whole pages only.
 */
static void fill(void *mem, size_t len, u8 value)
{
	typedef u64 vec __attribute__((vector_size(16)));
	u64 word = value * 0x0101010101010101UL;
	vec v = { word, word };

	for (vec *p = mem, *end = p + len / sizeof(v); p < end; p += 8) {
		p[0] = v;
		p[1] = v;
		p[2] = v;
		p[3] = v;
		p[4] = v;
		p[5] = v;
		p[6] = v;
		p[7] = v;
		/* Else the compiler makes a memset of it again. */
		__asm__ volatile("" : : : "memory");
	}
}

static int fill_phys(void *context, u64 phys, u64 len, u8 value)
{
	(void)context;
	while (len) {
		size_t n = len;
		void *to = phys_map(phys, &n);

		if (!to)
			return -1;
		fill(to, n, value);
		phys += n;
		len -= n;
	}
	return 0;
}

static int put_phys(void *context, u64 phys, const void *data, size_t len)
{
	(void)context;
	return phys_write(phys, data, len);
}

static int nothing_before(void *context, u64 entry)
{
	(void)context;
	(void)entry;
	return 0;
}

static int nothing_kept(void *context)
{
	(void)context;
	return 0;
}

const struct memory_way dev_mem_way = {
	.name = "/dev/mem",
	.begin = nothing_before,
	.put = put_phys,
	.fill = fill_phys,
	.flush = nothing_kept,
};
