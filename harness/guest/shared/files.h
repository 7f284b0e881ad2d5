/* SPDX-License-Identifier: GPL-2.0-only */
/* Small text files, such as those of /proc and /sys. */
#ifndef FILES_H
#define FILES_H

#include "types.h"

int read_text(const char *path, char *buf, size_t size);
/* A number of /proc/meminfo, 0 where it has none; @key with its colon. */
u64 meminfo_kb(const char *key);

#endif
