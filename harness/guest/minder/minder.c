// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs QEMU, and ends it when the harness is gone.
 *
 * libvirt starts this in the place of QEMU, whose name comes from a link beside
 * it. Where the command line names a runtime folder of ours, a child of this
 * program watches the lock of that folder, which the harness holds as long as it
 * lives; then it becomes QEMU, under the PID that libvirt knows. The guard of the
 * harness cleans up as well, but a guard can be killed with it.
 *
 * This runs on the host, as the only program here that does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EMULATOR "emulator"
#define WATCH "kspawn-watch"
#define LOCK "/lock"
#define ROOT "/root/"
#define POLL_MS 200

static int fail(const char *what)
{
	fprintf(stderr, "kspawn: %s: %s\n", what, strerror(errno));
	return EXIT_FAILURE;
}

/* The lock of the runtime folder that an argument names, or an empty string. */
static int find_lock(char *argv[], char *lock, size_t size)
{
	const char *start, *end;
	int i;

	lock[0] = '\0';
	for (i = 1; argv[i]; i++) {
		end = strstr(argv[i], ROOT);
		if (!end || !strstr(argv[i], "/kspawn-"))
			continue;
		for (start = end; start > argv[i] && start[-1] != '=' &&
		     start[-1] != ':' && start[-1] != '"'; start--)
			;
		if (*start != '/')
			continue;
		if ((size_t)snprintf(lock, size, "%.*s" LOCK,
				     (int)(end - start), start) >= size)
			return -1;
		if (!access(lock, R_OK))
			return 0;
		lock[0] = '\0';
	}
	return 0;
}

/* Waits for the end of the harness or of QEMU; ends QEMU in the first case. */
static int watch(const char *lock, const char *pid)
{
	struct pollfd qemu = { .events = POLLIN };
	int fd, got;

	fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return fail(lock);
	qemu.fd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0);
	if (qemu.fd < 0)
		return fail("pidfd_open");
	for (;;) {
		got = poll(&qemu, 1, POLL_MS);
		if (got < 0 && errno != EINTR)
			return fail("poll");
		if (got > 0)
			return EXIT_SUCCESS;
		if (!flock(fd, LOCK_SH | LOCK_NB))
			break;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return fail("flock");
	}
	if (syscall(SYS_pidfd_send_signal, qemu.fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return fail("pidfd_send_signal");
	return EXIT_SUCCESS;
}

/* In the child: nothing of QEMU's is held, and its name is not QEMU's. */
static int become_watch(const char *lock, pid_t pid)
{
	char number[32], self[] = "/proc/self/exe";
	char *argv[] = { WATCH, (char *)lock, number, NULL };
	int null;

	snprintf(number, sizeof(number), "%d", (int)pid);
	if (setsid() < 0)
		return fail("setsid");
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return fail("/dev/null");
	/* The pipe to the parent ends by the execve, and so does all else. */
	if (syscall(SYS_close_range, 3, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) < 0)
		return fail("close_range");
	execv(self, argv);
	return fail(self);
}

static int start_watch(const char *lock)
{
	pid_t child, parent = getpid();
	int ends[2];
	char byte;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail("pipe2");
	child = fork();
	if (child < 0)
		return fail("fork");
	if (!child) {
		/* A grandchild, for QEMU is to have no child of ours. */
		child = fork();
		if (child)
			_exit(child < 0);
		_exit(become_watch(lock, parent));
	}
	close(ends[1]);
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(ends[0]);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return EXIT_SUCCESS;
}

int main(int argc, char *argv[])
{
	char lock[PATH_MAX], self[PATH_MAX], emulator[PATH_MAX];
	ssize_t length;
	char *slash;

	if (argc == 3 && !strcmp(argv[0], WATCH))
		return watch(argv[1], argv[2]);
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		return fail("/proc/self/exe");
	self[length] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return fail(self);
	slash[1] = '\0';
	if ((size_t)snprintf(emulator, sizeof(emulator), "%s" EMULATOR, self) >= sizeof(emulator))
		return fail(self);
	if (find_lock(argv, lock, sizeof(lock)))
		return fail("the runtime folder");
	if (lock[0] && start_watch(lock))
		return EXIT_FAILURE;
	execv(emulator, argv);
	return fail(emulator);
}
