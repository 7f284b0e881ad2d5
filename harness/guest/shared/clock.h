/* SPDX-License-Identifier: GPL-2.0-only */
/* The time that the status lines and the reports count. */
#ifndef CLOCK_H
#define CLOCK_H

#include "types.h"

u64 monotonic_ms(void);

#endif
