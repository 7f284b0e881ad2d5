/* SPDX-License-Identifier: GPL-2.0-only */
/* Files and devices that witnesses write to. */
#ifndef FILES_H
#define FILES_H

#include <sys/types.h>

#include "types.h"

/* To a file that is there, such as those in /proc and /sys, in one write. */
bool write_text(const char *path, const char *text);
/* What a block device has in the page cache goes to it, and is read anew. */
bool forget_cached(int fd);
/* Damages a file or a device: bit 1 of one byte. */
bool flip_byte(char *detail, int fd, off_t offset);

#endif
