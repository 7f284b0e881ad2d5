/* SPDX-License-Identifier: GPL-2.0-only */
/* A zram device of a witness's own, which goes with it. */
#ifndef ZRAMDEVICE_H
#define ZRAMDEVICE_H

#include "types.h"

struct zram {
	int number;
	char path[32];
};

/* False: it is not here. The one that makes it calls zram_remove() by a janitor. */
bool zram_add(struct zram *zram, size_t bytes);
void zram_remove(const struct zram *zram);

#endif
