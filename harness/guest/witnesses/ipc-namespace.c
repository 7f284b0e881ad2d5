// SPDX-License-Identifier: GPL-2.0-only
/* A ipc namespace of its own, and what is in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

#define KEY	0x6b7370

static void ipc_namespace_prepare(struct helper_page *page)
{
	struct stat st;

	if (unshare(CLONE_NEWIPC) < 0) {
		not_here("unshare(CLONE_NEWIPC): %s", strerror(errno));
		return;
	}
	page->value[1] = msgget(KEY, IPC_CREAT | IPC_EXCL | 0600);
	if (page->value[1] < 0)
		die_errno("msgget");
	if (stat("/proc/self/ns/ipc", &st)) {
		not_here("no /proc/self/ns/ipc");
		return;
	}
	page->value[0] = st.st_ino;
}

static bool ipc_namespace_serve(struct helper_page *page, int what, char *detail)
{
	struct stat st;

	if (what == HELPER_DAMAGE) {
		if (msgctl(page->value[1], IPC_RMID, NULL))
			return fail_errno(detail, "IPC_RMID");
		return true;
	}
	if (stat("/proc/self/ns/ipc", &st))
		return fail_errno(detail, "stat");
	if ((int64_t)st.st_ino != page->value[0])
		return fail(detail, "namespace %lld instead of %lld",
			    (long long)st.st_ino, (long long)page->value[0]);
	if (msgget(KEY, 0) != page->value[1])
		return fail(detail, "key 0x%x: queue %d instead of %lld", KEY,
			    msgget(KEY, 0), (long long)page->value[1]);
	return pass(detail, "namespace %lld", (long long)st.st_ino);
}

static void ipc_namespace_arm(void)
{
	helper_start(&helper, ipc_namespace_prepare, ipc_namespace_serve);
}

static bool ipc_namespace_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool ipc_namespace_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "ipc-namespace",
	.kind = "process",
	.holds = "an IPC namespace with a queue under a key",
	.damages = "removes the queue",
	.order = ORDER_CHILDREN,
	.arm = ipc_namespace_arm,
	.check = ipc_namespace_check,
	.damage = ipc_namespace_damage,
};
