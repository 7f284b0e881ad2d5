/* SPDX-License-Identifier: GPL-2.0-only */
/* What every part counts and measures in. */
#ifndef TYPES_H
#define TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE		4096UL
#define SPAWNED_END	0x1000000UL	/* the spawned kernels live below 16 MiB */

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	((a) < (b) ? (a) : (b))

#endif
