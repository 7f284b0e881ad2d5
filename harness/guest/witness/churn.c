// SPDX-License-Identifier: GPL-2.0-only
/*
 * Churn: a process that takes, dirties and frees memory all the time, up to
 * the jump and on after it. What it gets from the kernel must be zero, and
 * must keep what is written to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "churn.h"
#include "pattern.h"
#include "types.h"

#define STATE		"/run/witness.churn"
#define FILE_NAME	"/tmp/witness.churn"
#define WORDS		(PAGE / sizeof(uint64_t))
#define MAX_MEBIBYTES	1024

/* Shared between the process and who asks for it. */
struct churn {
	_Atomic uint32_t rounds;
	_Atomic uint32_t not_zero;	/* fresh pages that were not */
	_Atomic uint32_t lost;		/* pages that did not keep their content */
	_Atomic uint64_t word;		/* what was found instead, last */
	_Atomic int32_t pid;
};

static int kmsg = -1;

static struct churn *churn_state(bool create)
{
	int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0);
	int fd = open(STATE, flags, 0600);
	void *state;

	if (fd < 0)
		return NULL;
	if (create && ftruncate(fd, PAGE)) {
		close(fd);
		return NULL;
	}
	state = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (close(fd) || state == MAP_FAILED)
		return NULL;
	return state;
}

/* To the kernel's log: a kernel this wrong may take no connection any more. */
static void found(struct churn *state, _Atomic uint32_t *count,
		  const char *what, uint64_t word)
{
	char line[96];
	int len;

	state->word = word;
	if ((*count)++ || kmsg < 0)
		return;
	len = snprintf(line, sizeof(line), "witness: %s: %#llx", what,
		       (unsigned long long)word);
	if (write(kmsg, line, len) != len)
		kmsg = -1;
}

static void check_zeros(struct churn *state, const uint64_t *page)
{
	for (size_t i = 1; i < WORDS; i++) {
		if (page[i]) {
			found(state, &state->not_zero,
			      "a fresh page is not zero", page[i]);
			return;
		}
	}
}

/* Fresh anonymous memory: written first, or it is all one page of zeros. */
static bool anonymous(struct churn *state, size_t bytes, uint64_t seed)
{
	uint64_t *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t words = bytes / sizeof(*mem);

	if (mem == MAP_FAILED)
		return false;
	for (size_t at = 0; at < words; at += WORDS) {
		mem[at] = seed;
		check_zeros(state, mem + at);
		for (size_t i = 0; i < WORDS; i++)
			mem[at + i] = seed ^ (at + i);
	}
	for (size_t at = 0; at < words; at += WORDS) {
		for (size_t i = 0; i < WORDS; i++) {
			if (mem[at + i] != (seed ^ (at + i))) {
				found(state, &state->lost,
				      "a page lost its content", mem[at + i]);
				break;
			}
		}
	}
	return !munmap(mem, bytes);
}

/* Pages of the page cache, freed by unlink(2). */
static bool in_file(size_t bytes, uint64_t seed)
{
	uint64_t block[WORDS];
	bool ok = true;
	int fd = open(FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	for (size_t i = 0; i < WORDS; i++)
		block[i] = seed ^ i;
	for (size_t at = 0; ok && at < bytes; at += PAGE)
		ok = write(fd, block, PAGE) == (ssize_t)PAGE;
	return !unlink(FILE_NAME) && !close(fd) && ok;
}

/* Page tables and stacks come and go with a process. */
static bool in_child(struct churn *state, size_t bytes, uint64_t seed)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return false;
	if (!pid)
		_exit(anonymous(state, bytes, seed) ? 0 : 1);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static _Noreturn void churn_forever(struct churn *state, size_t mebibytes)
{
	for (uint64_t round = 1;; round++) {
		uint64_t seed = mix(round, 0);
		size_t bytes = (seed % mebibytes + 1) << 20;

		if (!anonymous(state, bytes, seed) ||
		    !in_file(bytes, seed) || !in_child(state, bytes, seed))
			_exit(1);
		state->rounds++;
	}
}

/*
 * Every second page is held, the others are given back: free memory in the
 * smallest pieces there are, more of them than an image has segments.
 */
static _Noreturn void holes_forever(struct churn *state, size_t mebibytes)
{
	size_t words = (mebibytes << 20) / sizeof(uint64_t);
	uint64_t *mem = mmap(NULL, mebibytes << 20, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED ||
	    madvise(mem, mebibytes << 20, MADV_NOHUGEPAGE))
		_exit(1);
	for (size_t i = 0; i < words; i++)
		mem[i] = mix(i, 1);
	for (size_t at = WORDS; at < words; at += 2 * WORDS)
		if (madvise(mem + at, PAGE, MADV_DONTNEED))
			_exit(1);
	for (;; state->rounds++) {
		for (size_t i = 0; i < words; i++)
			if (!(i / WORDS % 2) && mem[i] != mix(i, 1))
				found(state, &state->lost,
				      "a page lost its content", mem[i]);
		usleep(100000);
	}
}

static int answer(const struct churn *state, bool alive)
{
	bool ok = alive && !state->not_zero && !state->lost;

	printf("{\"ok\": %s, \"alive\": %s, \"pid\": %d, \"rounds\": %u, \"not_zero\": %u, \"lost\": %u, \"word\": \"%#llx\"}\n",
	       ok ? "true" : "false", alive ? "true" : "false", state->pid,
	       state->rounds, state->not_zero, state->lost,
	       (unsigned long long)state->word);
	return fflush(stdout) || !ok;
}

static int no_state(void)
{
	printf("{\"ok\": false, \"error\": \"%s: %s\"}\n", STATE, strerror(errno));
	return 1;
}

static int churn_start(size_t mebibytes, bool holes)
{
	struct churn *state = churn_state(true);
	pid_t pid;

	if (!state)
		return no_state();
	pid = fork();
	if (pid < 0)
		return no_state();
	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		/* Whoever started it waits for the end of its output. */
		if (setsid() < 0 || null < 0 || dup2(null, 0) < 0 ||
		    dup2(null, 1) < 0 || dup2(null, 2) < 0)
			_exit(1);
		/* Optional: without root there is none. */
		kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
		if (holes)
			holes_forever(state, mebibytes);
		churn_forever(state, mebibytes);
	}
	state->pid = pid;
	return answer(state, true);
}

/* It is well if it still goes round, and found nothing. */
static int churn_check(void)
{
	struct churn *state = churn_state(false);
	uint32_t before;
	bool alive = false;

	if (!state)
		return no_state();
	before = state->rounds;
	/* Two more: one of them began now. */
	for (int i = 0; i < PATIENCE * 10 && !alive; i++) {
		usleep(100000);
		alive = state->rounds - before >= 2;
	}
	return answer(state, alive);
}

static int churn_stop(void)
{
	struct churn *state = churn_state(false);

	if (!state || state->pid <= 1 || kill(state->pid, SIGKILL))
		return no_state();
	return answer(state, true);
}

/**
 * churn() - the command "witness churn"
 * @argc: how many words follow it
 * @argv: start MEBIBYTES, holes MEBIBYTES, check or stop
 *
 * Return: 0 good, 1 a check failed, 2 wrong usage.
 */
int churn(int argc, char **argv)
{
	bool holes = argc == 2 && !strcmp(argv[0], "holes");
	char *end;

	if (holes || (argc == 2 && !strcmp(argv[0], "start"))) {
		size_t mebibytes = strtoul(argv[1], &end, 10);

		if (*end || !mebibytes || mebibytes > MAX_MEBIBYTES)
			return 2;
		return churn_start(mebibytes, holes);
	}
	if (argc == 1 && !strcmp(argv[0], "check"))
		return churn_check();
	if (argc == 1 && !strcmp(argv[0], "stop"))
		return churn_stop();
	return 2;
}
