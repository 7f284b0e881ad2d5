/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The disk with the image. All I/O is O_DIRECT: through the page cache, the
 * later kexec_load() in 0-16 MiB fails with ENOMEM.
 */
#ifndef DISK_H
#define DISK_H

#include "types.h"

#define BLOCK		4096UL		/* what O_DIRECT asks of us, and more */

/* Memory for such I/O; given back by munmap(2). */
void *disk_memory(size_t size);
int disk_open(const char *path, int flags);
int disk_read(int fd, void *buf, size_t len, u64 offset);
int disk_write(int fd, const void *buf, size_t len, u64 offset);

#endif
