// SPDX-License-Identifier: GPL-2.0-only
/* A child that waits in a system call. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocked.h"
#include "child.h"
#include "report.h"
#include "types.h"
#include "waiting.h"

#define TURN_NS		2000000
#define TURNS		(PATIENCE * (NSEC / TURN_NS))

struct blocked_page {
	_Atomic uint32_t rounds;
	int64_t result;
};

/* It ends with the witness, and has no descriptor of the others. */
static void keep_only(const int *keep)
{
	int low = keep[0] < keep[1] ? keep[0] : keep[1];
	int high = keep[0] < keep[1] ? keep[1] : keep[0];
	unsigned int first = 3;

	close_report();
	if (low > 2) {
		if (low > 3 && syscall(SYS_close_range, first, low - 1, 0))
			_exit(1);
		first = low + 1;
	}
	if (high > 2) {
		if (high > (int)first &&
		    syscall(SYS_close_range, first, high - 1, 0))
			_exit(1);
		first = high + 1;
	}
	if (syscall(SYS_close_range, first, ~0U, 0) ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
}

void blocked_start(struct blocked *blocked)
{
	blocked->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (blocked->page == MAP_FAILED)
		die_errno("mmap");
	blocked->pid = fork();
	if (blocked->pid < 0)
		die_errno("fork");
	if (blocked->pid)
		return;
	keep_only(blocked->keep);
	for (uint32_t round = 1;; round++) {
		blocked->page->result = blocked->block();
		post(&blocked->page->rounds, round);
	}
}

/* The call that it is in, -1 if it is in none, -2 if that cannot be told. */
static long in_call(pid_t pid)
{
	char path[64], line[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -2;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	return line[0] >= '0' && line[0] <= '9' ? strtol(line, NULL, 10) : -1;
}

static bool waits(char *detail, struct blocked *blocked)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };
	long is = -1;

	for (long i = 0; i < TURNS; i++) {
		is = in_call(blocked->pid);
		/* A call with a timeout goes on by restart_syscall(2). */
		if (is == -2 || is == blocked->number ||
		    is == SYS_restart_syscall)
			return true;
		nanosleep(&turn, NULL);
	}
	return fail(detail, "the child is in system call %ld instead of %ld", is,
		    blocked->number);
}

static bool go(char *detail, struct blocked *blocked)
{
	if (!blocked->wake(detail))
		return false;
	if (!wait_until(&blocked->page->rounds, blocked->rounds + 1))
		return fail(detail, "system call %ld does not come back",
			    blocked->number);
	return true;
}

bool blocked_still(char *detail, struct blocked *blocked)
{
	uint32_t rounds = atomic_load(&blocked->page->rounds);
	int status;

	if (waitpid(blocked->pid, &status, WNOHANG))
		return fail(detail, "the child ended with status 0x%x", status);
	if (rounds != blocked->rounds)
		return fail(detail, "system call %ld came back by itself, with %lld: %u times instead of %u",
			    blocked->number,
			    (long long)blocked->page->result, rounds,
			    blocked->rounds);
	return waits(detail, blocked) &&
	       pass(detail, "in system call %ld, %u times", blocked->number,
		    rounds + 1);
}

bool blocked_check(char *detail, struct blocked *blocked)
{
	if (!blocked_still(detail, blocked) || !go(detail, blocked))
		return false;
	blocked->rounds++;
	if (blocked->page->result != blocked->expected)
		return fail(detail, "system call %ld returned %lld instead of %lld",
			    blocked->number,
			    (long long)blocked->page->result,
			    (long long)blocked->expected);
	return blocked_still(detail, blocked);
}

bool blocked_damage(char *detail, struct blocked *blocked)
{
	return waits(detail, blocked) && go(detail, blocked);
}

void blocked_end(struct blocked *blocked)
{
	end_child(&blocked->pid);
}
