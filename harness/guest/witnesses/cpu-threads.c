// SPDX-License-Identifier: GPL-2.0-only
/* A thread on each CPU: it still runs there, and only there. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

#define MAX_CPUS	64

static struct {
	_Atomic uint32_t order, answer;
	pthread_t thread;
	pid_t id;
	int cpu, seen;
} on[MAX_CPUS];
static int count;
static cpu_set_t all;

static void *stay(void *argument)
{
	int i = (int)(intptr_t)argument;

	on[i].id = syscall(SYS_gettid);
	for (uint32_t order = 0;; order++) {
		on[i].seen = sched_getcpu();
		post(&on[i].answer, order + 1);
		wait_change(&on[i].order, order);
	}
	return NULL;
}

static void start(int cpu)
{
	cpu_set_t one;
	int error;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	on[count].cpu = cpu;
	error = pthread_create(&on[count].thread, NULL, stay,
			       (void *)(intptr_t)count);
	if (error)
		die("pthread_create: %s", strerror(error));
	if (!wait_until(&on[count].answer, 1))
		die("a thread does not start");
	if (sched_setaffinity(on[count].id, sizeof(one), &one))
		die_errno("sched_setaffinity");
	count++;
}

static void cpu_threads_arm(void)
{
	if (sched_getaffinity(0, sizeof(all), &all))
		die_errno("sched_getaffinity");
	if (CPU_COUNT(&all) < 2) {
		not_here("one CPU only");
		return;
	}
	for (int cpu = 0; cpu < MAX_CPUS; cpu++)
		if (CPU_ISSET(cpu, &all))
			start(cpu);
}

static bool one_check(char *detail, int i)
{
	uint32_t order = atomic_load(&on[i].order) + 1;
	cpu_set_t set;

	if (sched_getaffinity(on[i].id, sizeof(set), &set))
		return fail_errno(detail, "sched_getaffinity");
	if (CPU_COUNT(&set) != 1 || !CPU_ISSET(on[i].cpu, &set))
		return fail(detail, "the thread of CPU %d may run on %d CPUs",
			    on[i].cpu, CPU_COUNT(&set));
	post(&on[i].order, order);
	if (!wait_until(&on[i].answer, order + 1))
		return fail(detail, "the thread of CPU %d does not run",
			    on[i].cpu);
	if (on[i].seen != on[i].cpu)
		return fail(detail, "the thread of CPU %d runs on %d",
			    on[i].cpu, on[i].seen);
	return true;
}

static bool cpu_threads_check(char *detail)
{
	for (int i = 0; i < count; i++)
		if (!one_check(detail, i))
			return false;
	return pass(detail, "%d threads on %d CPUs", count, count);
}

static bool cpu_threads_damage(char *detail)
{
	if (sched_setaffinity(on[1].id, sizeof(all), &all))
		return fail_errno(detail, "sched_setaffinity");
	return true;
}

WITNESS = {
	.name = "cpu-threads",
	.kind = "cpu",
	.holds = "a thread that is bound to each CPU",
	.damages = "lets one run everywhere",
	.order = ORDER_THREADS,
	.arm = cpu_threads_arm,
	.check = cpu_threads_check,
	.damage = cpu_threads_damage,
};
