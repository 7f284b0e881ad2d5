// SPDX-License-Identifier: GPL-2.0-only
/* The I/O of the image's data, beside the work on them. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "disk.h"
#include "disk_thread.h"
#include "failure.h"
#include "types.h"

enum request { NONE, WRITE, READ, QUIT };

struct disk_thread {
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum request request;	/* NONE: the one before has ended */
	int err;		/* of any request so far, and why */
	struct failure failure;
	u8 *busy;		/* what the thread works on */
	u8 *idle;		/* what the caller works on */
	size_t len;
	u64 offset;
};

static void *serve(void *context)
{
	struct disk_thread *t = context;
	enum request request;
	int err;

	pthread_mutex_lock(&t->lock);
	for (;;) {
		while (t->request == NONE)
			pthread_cond_wait(&t->changed, &t->lock);
		request = t->request;
		if (request == QUIT)
			break;
		pthread_mutex_unlock(&t->lock);
		if (request == WRITE)
			err = disk_write(t->fd, t->busy, t->len, t->offset);
		else
			err = disk_read(t->fd, t->busy, t->len, t->offset);
		pthread_mutex_lock(&t->lock);
		if (err) {
			t->err = err;
			t->failure = failure;
		}
		t->request = NONE;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

struct disk_thread *disk_thread_start(int fd)
{
	struct disk_thread *t = calloc(1, sizeof(*t));

	if (!t) {
		fail("no-memory", "no memory for a thread");
		return NULL;
	}
	t->fd = fd;
	t->busy = disk_memory(2 * UNIT);
	if (!t->busy) {
		free(t);
		return NULL;
	}
	t->idle = t->busy + UNIT;
	if (pthread_mutex_init(&t->lock, NULL) ||
	    pthread_cond_init(&t->changed, NULL) ||
	    pthread_create(&t->thread, NULL, serve, t)) {
		fail("no-memory", "the thread for the disk does not start");
		munmap(t->busy, 2 * UNIT);
		free(t);
		return NULL;
	}
	return t;
}

/* Returns with the lock held, and nothing in progress. */
static void quiesce(struct disk_thread *t)
{
	pthread_mutex_lock(&t->lock);
	while (t->request != NONE)
		pthread_cond_wait(&t->changed, &t->lock);
}

/* What failed there becomes the caller's failure; -1 if anything did. */
static int ended_well(const struct disk_thread *t)
{
	if (t->err)
		failure = t->failure;
	return t->err;
}

int disk_thread_end(struct disk_thread *t)
{
	int err = 0;

	quiesce(t);
	t->request = QUIT;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	if (pthread_join(t->thread, NULL) ||
	    munmap(MIN(t->busy, t->idle), 2 * UNIT))
		err = fail("no-memory", "the thread for the disk does not end");
	free(t);
	return err;
}

u8 *disk_thread_buffer(struct disk_thread *t)
{
	return t->idle;
}

static int ask(struct disk_thread *t, enum request request, size_t len,
	       u64 offset)
{
	u8 *idle = t->idle;
	int err;

	quiesce(t);
	err = ended_well(t);
	if (!err) {
		t->idle = t->busy;
		t->busy = idle;
		t->len = len;
		t->offset = offset;
		t->request = request;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

int disk_thread_write(struct disk_thread *t, size_t len, u64 offset)
{
	return ask(t, WRITE, len, offset);
}

int disk_thread_read(struct disk_thread *t, size_t len, u64 offset)
{
	return ask(t, READ, len, offset);
}

const u8 *disk_thread_take(struct disk_thread *t)
{
	const u8 *buffer;

	quiesce(t);
	buffer = ended_well(t) ? NULL : t->busy;
	pthread_mutex_unlock(&t->lock);
	return buffer;
}
