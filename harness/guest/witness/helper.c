// SPDX-License-Identifier: GPL-2.0-only
/* A child process that holds state of its own. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "helper.h"
#include "report.h"
#include "types.h"
#include "waiting.h"

#define MAX_HELPERS	128

static struct helper *helpers[MAX_HELPERS];
static size_t count;

void leave_parent(void)
{
	close_report();
	if (syscall(SYS_close_range, 3, ~0U, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
}

static _Noreturn void run(struct helper_page *page,
			  void (*prepare)(struct helper_page *),
			  bool (*serve)(struct helper_page *, int, char *))
{
	const char *missing;

	leave_parent();
	prepare(page);
	missing = take_not_here();
	if (missing)
		snprintf(page->missing, DETAIL, "%s", missing);
	for (uint32_t order = 0;; order++) {
		post(&page->answer, order + 1);
		if (missing)
			_exit(0);
		wait_change(&page->order, order);
		page->detail[0] = 0;
		page->good = serve(page, page->what, page->detail);
	}
}

bool helper_start(struct helper *helper, void (*prepare)(struct helper_page *),
		  bool (*serve)(struct helper_page *, int, char *))
{
	struct helper_page *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	_Static_assert(sizeof(*page) <= PAGE, "one page");
	if (page == MAP_FAILED)
		die_errno("mmap");
	if (count == MAX_HELPERS)
		die("more than %d helpers", MAX_HELPERS);
	helper->page = page;
	helper->pid = fork();
	if (helper->pid < 0)
		die_errno("fork");
	if (!helper->pid)
		run(page, prepare, serve);
	helpers[count++] = helper;
	if (!wait_until(&page->answer, 1))
		die("its child does not start");
	if (page->missing[0]) {
		not_here("%s", page->missing);
		helper_end(helper);
		return false;
	}
	return true;
}

bool helper_ask(char *detail, struct helper *helper, int what)
{
	struct helper_page *page = helper->page;
	uint32_t order = atomic_load(&page->order) + 1;
	int status;
	pid_t pid = waitpid(helper->pid, &status, WNOHANG);

	if (pid < 0)
		return fail_errno(detail, "waitpid");
	if (pid)
		return fail(detail, "the child ended with status 0x%x", status);
	page->what = what;
	post(&page->order, order);
	if (!wait_until(&page->answer, order + 1))
		return fail(detail, "the child does not answer");
	snprintf(detail, DETAIL, "%s", page->detail);
	return page->good;
}

void helper_end(struct helper *helper)
{
	end_child(&helper->pid);
}

void end_helpers(void)
{
	for (size_t i = 0; i < count; i++)
		helper_end(helpers[i]);
}
