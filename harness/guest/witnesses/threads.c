// SPDX-License-Identifier: GPL-2.0-only
/* Threads: half of them wait for a condition, half for a futex. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

#define THREADS		4
#define LOCAL_WORDS	512
#define STACK_WORDS	256

static __thread uint64_t local[LOCAL_WORDS];
static __thread pid_t local_tid;

static struct worker {
	unsigned int index;
	pid_t tid;
	uint64_t *local;
	_Atomic uint32_t order, answer;
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool good;
	char detail[DETAIL];
} workers[THREADS];

/* The word against which the compiler's stack protector compares. */
static uint64_t stack_guard(void)
{
	uint64_t guard;

	asm volatile("movq %%fs:0x28, %0" : "=r" (guard));
	return guard;
}

static bool uses_condition(const struct worker *worker)
{
	return worker->index % 2;
}

static void await_order(struct worker *worker, uint32_t last)
{
	if (!uses_condition(worker)) {
		wait_change(&worker->order, last);
		return;
	}
	if (pthread_mutex_lock(&worker->mutex))
		die("pthread_mutex_lock");
	while (atomic_load(&worker->order) == last)
		if (pthread_cond_wait(&worker->condition, &worker->mutex))
			die("pthread_cond_wait");
	if (pthread_mutex_unlock(&worker->mutex))
		die("pthread_mutex_unlock");
}

static void give_order(struct worker *worker)
{
	uint32_t order = atomic_load(&worker->order) + 1;

	if (!uses_condition(worker)) {
		post(&worker->order, order);
		return;
	}
	if (pthread_mutex_lock(&worker->mutex))
		die("pthread_mutex_lock");
	atomic_store(&worker->order, order);
	if (pthread_cond_signal(&worker->condition))
		die("pthread_cond_signal");
	if (pthread_mutex_unlock(&worker->mutex))
		die("pthread_mutex_unlock");
}

static bool worker_check(struct worker *worker, const uint64_t *stack,
			  uint64_t guard)
{
	struct difference in_local = { 0 }, on_stack = { 0 };
	pid_t tid = syscall(SYS_gettid);
	char what[32];

	compare(&in_local, local, sizeof(local), salt("threads", 2 * worker->index),
		0);
	compare(&on_stack, stack, STACK_WORDS * 8, salt("threads", 2 * worker->index + 1),
		0);
	if (in_local.differ) {
		snprintf(what, sizeof(what), "local of thread %u",
			 worker->index);
		return fail_difference(worker->detail, what, &in_local);
	}
	if (on_stack.differ) {
		snprintf(what, sizeof(what), "stack of thread %u",
			 worker->index);
		return fail_difference(worker->detail, what, &on_stack);
	}
	if (tid != worker->tid || tid != local_tid)
		return fail(worker->detail,
			    "thread %u has id %d instead of %d, %d in itself",
			    worker->index, tid, worker->tid, local_tid);
	if (stack_guard() != guard)
		return fail(worker->detail,
			    "thread %u: stack guard 0x%016llx instead of 0x%016llx",
			    worker->index, (unsigned long long)stack_guard(),
			    (unsigned long long)guard);
	return true;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	uint64_t guard = stack_guard(), stack[STACK_WORDS];

	fill(stack, sizeof(stack), salt("threads", 2 * worker->index + 1), 0);
	fill(local, sizeof(local), salt("threads", 2 * worker->index), 0);
	local_tid = syscall(SYS_gettid);
	worker->tid = local_tid;
	worker->local = local;
	for (uint32_t order = 0;; order++) {
		post(&worker->answer, order + 1);
		await_order(worker, order);
		worker->good = worker_check(worker, stack, guard);
	}
	return NULL;
}

static bool worker_answered(struct worker *worker)
{
	return wait_until(&worker->answer, atomic_load(&worker->order) + 1);
}

static void threads_arm(void)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];
		pthread_t thread;
		int err;

		worker->index = i;
		err = pthread_mutex_init(&worker->mutex, NULL);
		if (!err)
			err = pthread_cond_init(&worker->condition, NULL);
		if (!err)
			err = pthread_create(&thread, NULL, work, worker);
		if (err) {
			errno = err;
			die_errno("pthread_create");
		}
		if (!worker_answered(worker))
			die("thread %u does not start", i);
	}
}

static bool threads_check(char *detail)
{
	for (unsigned int i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];

		if (syscall(SYS_tgkill, getpid(), worker->tid, 0))
			return fail(detail, "thread %u, id %d: %s", i,
				    worker->tid, strerror(errno));
		give_order(worker);
		if (!worker_answered(worker))
			return fail(detail, "thread %u does not answer", i);
		if (!worker->good)
			return fail(detail, "%s", worker->detail);
	}
	return pass(detail, "%d threads, half on a condition", THREADS);
}

static bool threads_damage(char *detail)
{
	(void)detail;
	workers[2].local[100] ^= 1ULL << 63;
	return true;
}

WITNESS = {
	.name = "threads",
	.kind = "process",
	.holds = "threads that wait, their stacks and locals",
	.damages = "flips a bit of a thread-local word",
	.order = ORDER_THREADS,
	.arm = threads_arm,
	.check = threads_check,
	.damage = threads_damage,
};
