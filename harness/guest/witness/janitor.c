// SPDX-License-Identifier: GPL-2.0-only
/* What a witness has made outside of its process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "janitor.h"
#include "report.h"

static _Noreturn void wait_and_clean(int end, void (*clean)(void))
{
	char byte;

	/* The other end is that of the witness alone, then. */
	if ((end != 3 && dup2(end, 3) < 0) ||
	    syscall(SYS_close_range, 4, ~0U, 0))
		_exit(1);
	while (read(3, &byte, 1) < 0 && errno == EINTR)
		;
	clean();
	_exit(0);
}

void janitor(void (*clean)(void))
{
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	pid = fork();
	if (pid < 0)
		die_errno("fork");
	if (!pid) {
		close_report();
		/* Nobody's child: who ends those of the witness leaves it. */
		pid = fork();
		if (!pid)
			wait_and_clean(ends[0], clean);
		_exit(pid < 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die_errno("waitpid");
	if (status)
		die("its janitor does not start");
	close(ends[0]);
}
