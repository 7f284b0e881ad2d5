// SPDX-License-Identifier: GPL-2.0-only
/* The process that keeps a kernel loaded. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "departure.h"
#include "failure.h"
#include "files.h"
#include "handoff.h"
#include "keeper.h"
#include "types.h"

/* Where the process is noted that keeps a kernel loaded. */
#define KEEPER		"/run/kspawn.pid"

/* Jumps again at each SIGUSR1, into the kernel that was left; until SIGTERM. */
int keep(struct handoff *ho, u64 phys, int session)
{
	int number = 0, err = 0;
	const char *command;
	sigset_t set;
	FILE *file;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return fail_errno("no-jump", "sigprocmask");
	file = fopen(KEEPER, "we");
	if (!file)
		return fail_errno("no-jump", KEEPER);
	fprintf(file, "%d\n", getpid());
	if (fclose(file))
		return fail_errno("no-jump", KEEPER);
	do {
		err = jump_there(ho, phys, session, &command);
		if (err)
			break;
		report_back(ho, command);
		/* The next one is called over another connection. */
		session = -1;
		if (sigwait(&set, &number))
			err = fail_errno("no-jump", "sigwait");
	} while (!err && number == SIGUSR1);
	if (unlink(KEEPER) && !err)
		err = fail_errno("no-jump", KEEPER);
	return err;
}

/* Signals the process that keeps a kernel loaded; SIGTERM: until it is gone. */
int signal_keeper(int number)
{
	struct pollfd ended = { .events = POLLIN };
	char text[32];

	if (read_text(KEEPER, text, sizeof(text))) {
		fprintf(stderr, "kspawn: no kernel is kept: %s\n", failure.detail);
		return 1;
	}
	ended.fd = syscall(SYS_pidfd_open, atoi(text), 0);
	if (ended.fd < 0 ||
	    syscall(SYS_pidfd_send_signal, ended.fd, number, NULL, 0)) {
		perror("kspawn: the process that keeps a kernel");
		return 1;
	}
	if (number == SIGTERM && poll(&ended, 1, -1) < 0) {
		perror("kspawn: poll");
		return 1;
	}
	return 0;
}
