/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of the witness, in its directory. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <sys/types.h>

#include "types.h"

/* @path has room for PATH_MAX. */
void file_name(char *path, const char *suffix);
int create_file(const char *suffix);
int open_file(const char *suffix);
void unlink_file(const char *suffix);
void write_pattern(int fd, size_t bytes, unsigned int salt);
bool check_file(char *detail, int fd, size_t bytes, unsigned int salt);
/* Flips a bit of the byte at an offset. */
bool damage_file(char *detail, int fd, off_t offset);

#endif
