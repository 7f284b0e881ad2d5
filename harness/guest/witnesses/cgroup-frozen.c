// SPDX-License-Identifier: GPL-2.0-only
/* cgroup v2: a process that its group has frozen stays so. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "files.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define TURN_NS	2000000

static _Atomic uint32_t *count;

/* It counts as long as it may. */
static pid_t start_counter(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	leave_parent();
	for (;;) {
		atomic_fetch_add(count, 1);
		usleep(1000);
	}
}

static bool frozen(void)
{
	return cgroup_says("cgroup.events", "frozen 1");
}

static void cgroup_frozen_prepare(struct helper_page *page)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };
	char text[16];
	pid_t pid;

	count = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (count == MAP_FAILED)
		die_errno("mmap");
	if (!make_cgroup("frozen"))
		return;
	pid = start_counter();
	if (pid < 0)
		die_errno("fork");
	/* It is not to stand where it would not end with its parent yet. */
	for (long i = 0; !atomic_load(count) && i < PATIENCE * (NSEC / TURN_NS); i++)
		nanosleep(&turn, NULL);
	snprintf(text, sizeof(text), "%d", (int)pid);
	if (!write_text("cgroup.procs", text) ||
	    !write_text("cgroup.freeze", "1"))
		die_errno("cgroup.freeze");
	for (long i = 0; !frozen() && i < PATIENCE * (NSEC / TURN_NS); i++)
		nanosleep(&turn, NULL);
	if (!frozen())
		die("it does not freeze");
	page->value[0] = atomic_load(count);
}

static bool cgroup_frozen_serve(struct helper_page *page, int what,
				char *detail)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };

	if (what == HELPER_DAMAGE) {
		if (!write_text("cgroup.freeze", "0"))
			return fail_errno(detail, "write");
		for (long i = 0; atomic_load(count) == page->value[0] &&
		     i < PATIENCE * (NSEC / TURN_NS); i++)
			nanosleep(&turn, NULL);
		return true;
	}
	if (!frozen())
		return fail(detail, "cgroup.events: it is not frozen");
	nanosleep(&turn, NULL);
	if (atomic_load(count) != page->value[0])
		return fail(detail, "its process counted on: %u instead of %lld",
			    atomic_load(count), (long long)page->value[0]);
	return pass(detail, "its process stands at %u", atomic_load(count));
}

static void cgroup_frozen_arm(void)
{
	helper_start(&helper, cgroup_frozen_prepare, cgroup_frozen_serve);
}

static bool cgroup_frozen_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool cgroup_frozen_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "cgroup-frozen",
	.kind = "process",
	.holds = "a frozen cgroup with a process in it",
	.damages = "thaws it",
	.order = ORDER_CHILDREN,
	.arm = cgroup_frozen_arm,
	.check = cgroup_frozen_check,
	.damage = cgroup_frozen_damage,
};
