// SPDX-License-Identifier: GPL-2.0-only
/* The connection over which a command was called. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "session.h"
#include "types.h"

#define SSHD		"dropbear"
/* A shell or two lie between sshd and us. */
#define GENERATIONS	8
#define LIMIT_MS	1000
/* Where nothing is known of the caller, sshd has so long to pass our end on. */
#define UNKNOWN_US	200000

/**
 * session_of_caller() - the process of sshd that we run for
 *
 * Returns a descriptor of it, or -1 if there is none among our ancestors.
 */
int session_of_caller(void)
{
	pid_t pid = getppid();

	for (int i = 0; i < GENERATIONS && pid > 1; i++) {
		char path[32], text[512], *end;
		int parent;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		if (read_text(path, text, sizeof(text)))
			return -1;
		/* PID (name) state parent: a name may have anything in it. */
		end = strrchr(text, ')');
		if (!end || sscanf(end, ") %*c %d", &parent) != 1)
			return -1;
		if (strstr(text, "(" SSHD ")"))
			return syscall(SYS_pidfd_open, pid, 0);
		pid = parent;
	}
	return -1;
}

/**
 * session_ended() - wait until the caller's connection is closed
 * @session: as session_of_caller() gave it
 *
 * A caller that stays is left after a second.
 */
void session_ended(int session)
{
	struct pollfd ended = { .fd = session, .events = POLLIN };

	if (session < 0)
		usleep(UNKNOWN_US);
	else
		poll(&ended, 1, LIMIT_MS);
}
