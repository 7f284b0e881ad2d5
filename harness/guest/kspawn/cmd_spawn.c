// SPDX-License-Identifier: GPL-2.0-only
/* Loads the hibernating kernel and jumps into it. */
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "departure.h"
#include "failure.h"
#include "handoff.h"
#include "handoff_fill.h"
#include "keeper.h"
#include "kexec.h"
#include "locked_page.h"
#include "session.h"
#include "status.h"
#include "types.h"

struct spawn_options {
	const char *kernel;
	const char *append;
	const char *kexec;
	const char *status;
	bool keep;		/* keep what is loaded, to be entered again */
};

/* Loads the hibernating kernel through kexec-tools. */
static int load_spawned(const struct spawn_options *o, u64 handoff_phys)
{
	char append[2048];
	int wstatus;
	pid_t pid;

	snprintf(append, sizeof(append), "--append=%s kspawn.handoff=%#llx",
		 o->append, (unsigned long long)handoff_phys);
	pid = fork();
	if (pid < 0)
		return fail_errno("no-load", "fork");
	if (!pid) {
		/*
		 * --mem-min=0x1000: below 640K lies the trampoline that wakes
		 * the other CPUs, which must be backed up as well.
		 * --no-checks: no SHA-256 of all of it, here and once more in
		 * the purgatory, which an emulated CPU takes half a second for.
		 */
		execl(o->kexec, "kexec", "-c", "--no-checks",
		      "--load-preserve-context",
		      "--pass-memmap-cmdline", "--mem-min=0x1000",
		      "--mem-max=0xffffff", append, o->kernel, NULL);
		_exit(127);
	}
	while (waitpid(pid, &wstatus, 0) < 0)
		if (errno != EINTR)
			return fail_errno("no-load", "waitpid");
	if (!WIFEXITED(wstatus) || WEXITSTATUS(wstatus))
		return fail("no-load", "kexec ended with %d",
			    WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) :
						 -WTERMSIG(wstatus));
	return 0;
}

/* Jumps, and is back once the normal kernel was resumed. */
static int spawn(const struct spawn_options *o, int loaded_fd, int session)
{
	const char *command;
	struct handoff *ho;
	u64 phys;
	char ok = 1;

	ho = handoff_page(&phys);
	if (!ho || fill_handoff(ho) || load_spawned(o, phys))
		return -1;
	if (check_place(ho, phys))
		return -1;
	if (write(loaded_fd, &ok, 1) != 1 || close(loaded_fd))
		return fail_errno("no-load", "telling the caller");
	if (o->keep)
		return keep(ho, phys, session) || kexec_unload() ? -1 : 0;
	if (jump_there(ho, phys, session, &command) || kexec_unload())
		return -1;
	report_back(ho, command);
	return 0;
}

static int run(int argc, char **argv)
{
	struct spawn_options o = {
		.kernel = "/boot/spawned",
		.append = "",
		.kexec = "/sbin/kexec",
		.status = "/dev/ttyS1",
	};
	int pipes[2], session, c;
	char ok = 0;
	pid_t pid;

	while ((c = getopt(argc, argv, "k:a:x:s:l")) != -1) {
		if (c == 'k')
			o.kernel = optarg;
		else if (c == 'a')
			o.append = optarg;
		else if (c == 'x')
			o.kexec = optarg;
		else if (c == 's')
			o.status = optarg;
		else if (c == 'l')
			o.keep = true;
		else
			return 2;
	}
	/* Its children go to init when it ends. */
	session = session_of_caller();
	if (pipe(pipes)) {
		perror("kspawn: pipe");
		return 1;
	}
	pid = fork();
	if (pid < 0) {
		perror("kspawn: fork");
		return 1;
	}
	if (pid) {
		/* Ends as soon as the kernel is loaded: the child jumps. */
		close(pipes[1]);
		return read(pipes[0], &ok, 1) == 1 ? 0 : 1;
	}
	close(pipes[0]);
	if (setsid() < 0 || status_open(o.status, true) ||
	    spawn(&o, pipes[1], session)) {
		status_failure("normal", "spawn-failed");
		fprintf(stderr, "kspawn: %s: %s\n", failure.status,
			failure.detail);
		_exit(1);
	}
	_exit(0);
}

const struct command cmd_spawn = {
	.name = "spawn",
	.arguments = "[-k KERNEL] [-a APPEND] [-x KEXEC] [-s STATUS] [-l]",
	.run = run,
};
