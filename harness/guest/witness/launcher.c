// SPDX-License-Identifier: GPL-2.0-only
/* Starts a witness: detached, and ready when the launcher ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "anonymous-memory.h"
#include "answer.h"
#include "exit_codes.h"
#include "launcher.h"
#include "options.h"
#include "pattern.h"
#include "registry.h"
#include "relay.h"
#include "report.h"
#include "server.h"
#include "types.h"
#include "witness.h"

static void detach(void)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		die_errno("/dev/null");
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			die_errno("dup2");
	if (null > 2 && close(null))
		die_errno("close");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		die_errno("signal");
	if (signal(SIGHUP, SIG_IGN) == SIG_ERR)
		die_errno("signal");
	umask(022);
	if (chdir(options.dir))
		die_errno(options.dir);
}

static void put_ready(FILE *out)
{
	size_t page = anonymous_pages() / 2;
	uint64_t pfn;

	fputc('{', out);
	put_id(out);
	fputs(", ", out);
	put_armed(out);
	fputs(", \"phys\": ", out);
	if (anonymous_pages() && page_frame(page, &pfn))
		fprintf(out, "{\"page\": %zu, \"pfn\": %llu}", page,
			(unsigned long long)pfn);
	else
		fputs("null", out);
	fputs("}\n", out);
}

static _Noreturn void witness(pid_t launcher_child)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	struct answer answer;
	int listener;

	/* The parent must be the final one before identity looks at it. */
	for (int i = 0; getppid() == launcher_child; i++) {
		if (i == PATIENCE * 1000)
			die("the launcher does not end");
		nanosleep(&nap, NULL);
	}
	at_death(clean_up);
	detach();
	if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
		die_errno("getrandom");
	listener = listen_socket();
	arm_all();
	now_doing("server");
	if (!answer_begin(&answer))
		die_errno("open_memstream");
	put_ready(answer.stream);
	if (!answer_send(&answer, report(), GOOD))
		die_errno("write");
	close_report();
	serve(listener);
}

/*
 * Threads, timers, locks and pending signals do not survive fork(): so the
 * witness detaches first, and sets up its state after that; the launcher
 * waits for it, and ends only when all is set up.
 */
int run(void)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return error(SETUP_FAILED, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return error(SETUP_FAILED, "fork: %s", strerror(errno));
	if (!pid) {
		open_report(fds[1]);
		if (close(fds[0]))
			die_errno("close");
		if (setsid() < 0)
			die_errno("setsid");
		pid = getpid();
		switch (fork()) {
		case -1:
			die_errno("fork");
		case 0:
			witness(pid);
		default:
			_exit(0);
		}
	}
	if (close(fds[1]))
		return error(SETUP_FAILED, "close: %s", strerror(errno));
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return error(SETUP_FAILED, "waitpid: %s",
				     strerror(errno));
	return relay(fds[0], SETUP_FAILED, "the witness");
}
