// SPDX-License-Identifier: GPL-2.0-only
/* A controlling terminal, and a job in its foreground. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static struct helper helper;

static int master = -1, terminal = -1;
static pid_t job;

static void pty_job_prepare(struct helper_page *page)
{
	pid_t parent = getpid();
	char path[PATH_MAX];

	(void)page;
	master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || unlockpt(master) ||
	    ptsname_r(master, path, sizeof(path))) {
		not_here("no CONFIG_UNIX98_PTYS, or no devpts: %s",
			 strerror(errno));
		return;
	}
	terminal = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) ||
	    signal(SIGTTOU, SIG_IGN) == SIG_ERR)
		die_errno("its terminal");
	job = fork();
	if (job < 0)
		die_errno("fork");
	if (!job) {
		/* The parent may have ended before it was asked for. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
			_exit(1);
		for (;;)
			pause();
	}
	if (setpgid(job, job) || tcsetpgrp(terminal, job))
		die_errno("tcsetpgrp");
}

static bool pty_job_serve(struct helper_page *page, int what, char *detail)
{
	pid_t group = tcgetpgrp(terminal), session = tcgetsid(terminal);
	int status;

	(void)page;
	if (what == HELPER_DAMAGE) {
		if (tcsetpgrp(terminal, getpgrp()))
			return fail_errno(detail, "tcsetpgrp");
		return true;
	}
	if (waitpid(job, &status, WNOHANG))
		return fail(detail, "the job ended with status 0x%x", status);
	if (group != job)
		return fail(detail, "foreground group %d instead of %d",
			    (int)group, (int)job);
	if (session != getpid())
		return fail(detail, "session %d instead of %d", (int)session,
			    (int)getpid());
	return pass(detail, "group %d of session %d", (int)group, (int)session);
}

static void pty_job_arm(void)
{
	helper_start(&helper, pty_job_prepare, pty_job_serve);
}

static bool pty_job_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool pty_job_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "pty-job",
	.kind = "process",
	.holds = "a foreground job of a terminal",
	.damages = "makes another group the foreground",
	.order = ORDER_CHILDREN,
	.arm = pty_job_arm,
	.check = pty_job_check,
	.damage = pty_job_damage,
};
