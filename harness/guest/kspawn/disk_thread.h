/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread that does the I/O of the image's data, a unit at a time, while the
 * caller works on the next: the CPU and the disk are both busy.
 */
#ifndef DISK_THREAD_H
#define DISK_THREAD_H

#include "image_format.h"
#include "types.h"

/* Of I/O: by the chunk, an emulated disk takes half as long again. */
#define UNIT		(4 * CHUNK)

struct disk_thread;

/* @fd: an open disk, which stays the caller's. NULL if there is no memory. */
struct disk_thread *disk_thread_start(int fd);
/* Waits for the I/O in progress, however that ends, and gives all back. */
int disk_thread_end(struct disk_thread *t);
/* The buffer of UNIT bytes that no I/O is using. */
u8 *disk_thread_buffer(struct disk_thread *t);
/*
 * Begins to write that buffer, or to read into it, once the I/O before has
 * ended; -1 if that failed. The other buffer is the caller's from then on.
 */
int disk_thread_write(struct disk_thread *t, size_t len, u64 offset);
int disk_thread_read(struct disk_thread *t, size_t len, u64 offset);
/* Waits for the I/O in progress; its buffer, or NULL if any failed, as failure says. */
const u8 *disk_thread_take(struct disk_thread *t);

#endif
