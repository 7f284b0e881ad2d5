/* SPDX-License-Identifier: GPL-2.0-only */
/* What every part counts and measures in. */
#ifndef TYPES_H
#define TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096UL
#define MEBIBYTE	(1UL << 20)
#define DETAIL		256
#define NSEC		1000000000LL
/* How long a check waits for another thread or process: long, for TCG. */
#define PATIENCE	20

#endif
