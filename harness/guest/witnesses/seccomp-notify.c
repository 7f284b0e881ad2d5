// SPDX-License-Identifier: GPL-2.0-only
/* A seccomp user notification: a system call of a process waits for the answer of another. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"
#include "witness.h"

static struct helper helper;

#define ANSWER	4711
/* clone(2): it shares the descriptors with its parent, and nothing else. */
#define CLONE_FILES	0x400

static struct {
	_Atomic uint32_t listening, calls;
	int fd;
	long result;
} *shared;

/* In the process that is filtered: the listener is in the shared table. */
static _Noreturn void call_for_ever(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(1);
	shared->fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	post(&shared->listening, 1);
	if (shared->fd < 0)
		_exit(0);
	for (uint32_t call = 1;; call++) {
		shared->result = syscall(SYS_getppid);
		post(&shared->calls, call);
	}
}

static void seccomp_notify_prepare(struct helper_page *page)
{
	pid_t pid;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die_errno("mmap");
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		die_errno("clone");
	if (!pid)
		call_for_ever();
	page->value[0] = pid;
	if (!wait_until(&shared->listening, 1))
		die("the filtered process does not start");
	if (shared->fd < 0)
		not_here("no SECCOMP_FILTER_FLAG_NEW_LISTENER");
}

/* A stop takes the call out and puts it in again: what was asked may be void. */
static bool answer_call(char *detail)
{
	struct pollfd asked = { .fd = shared->fd, .events = POLLIN };

	for (int i = 0; i < 100; i++) {
		struct seccomp_notif request = { 0 };
		struct seccomp_notif_resp response = { 0 };

		if (poll(&asked, 1, PATIENCE * 1000) != 1)
			return fail(detail, "no call waits for an answer");
		if (ioctl(shared->fd, SECCOMP_IOCTL_NOTIF_RECV, &request)) {
			if (errno == ENOENT)
				continue;
			return fail_errno(detail, "SECCOMP_IOCTL_NOTIF_RECV");
		}
		if (request.data.nr != SYS_getppid)
			return fail(detail, "system call %d instead of %d",
				    request.data.nr, (int)SYS_getppid);
		response.id = request.id;
		response.val = ANSWER;
		if (!ioctl(shared->fd, SECCOMP_IOCTL_NOTIF_SEND, &response))
			return true;
		if (errno != ENOENT)
			return fail_errno(detail, "SECCOMP_IOCTL_NOTIF_SEND");
	}
	return fail(detail, "the call never waits for its answer");
}

static bool seccomp_notify_serve(struct helper_page *page, int what,
				 char *detail)
{
	uint32_t calls = atomic_load(&shared->calls);

	if (waitpid(page->value[0], NULL, WNOHANG))
		return fail(detail, "the filtered process has ended");
	if (what != HELPER_DAMAGE && calls != page->value[1])
		return fail(detail, "%u calls came back instead of %lld", calls,
			    (long long)page->value[1]);
	if (!answer_call(detail))
		return false;
	if (!wait_until(&shared->calls, calls + 1))
		return fail(detail, "the call does not come back");
	if (what == HELPER_DAMAGE)
		return true;
	page->value[1]++;
	if (shared->result != ANSWER)
		return fail(detail, "the call returned %ld instead of %d",
			    shared->result, ANSWER);
	return pass(detail, "answered %lld times", (long long)page->value[1]);
}

static void seccomp_notify_arm(void)
{
	helper_start(&helper, seccomp_notify_prepare, seccomp_notify_serve);
}

static bool seccomp_notify_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool seccomp_notify_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "seccomp-notify",
	.kind = "process",
	.holds = "a call that waits for an answer by seccomp",
	.damages = "answers it",
	.order = ORDER_CHILDREN,
	.arm = seccomp_notify_arm,
	.check = seccomp_notify_check,
	.damage = seccomp_notify_damage,
};
