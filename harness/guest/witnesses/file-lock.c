// SPDX-License-Identifier: GPL-2.0-only
/*
 * A POSIX lock, which another process must see, and a BSD lock, which another
 * open file must run into.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define LOCK_START	100
#define LOCK_LENGTH	57

static int posix_fd, bsd_fd, rival_fd;

static int posix_lock(int command, short type, struct flock *lock)
{
	*lock = (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = LOCK_START,
		.l_len = LOCK_LENGTH,
	};
	return fcntl(posix_fd, command, lock);
}

static void lock_arm(void)
{
	struct flock lock;

	posix_fd = create_file("posix-lock");
	unlink_file("posix-lock");
	if (posix_lock(F_SETLK, F_WRLCK, &lock))
		die_errno("fcntl");
	bsd_fd = create_file("bsd-lock");
	rival_fd = open_file("bsd-lock");
	unlink_file("bsd-lock");
	if (flock(bsd_fd, LOCK_EX | LOCK_NB))
		die_errno("flock");
}

/* What a child sees of the POSIX lock. */
static bool ask_child(char *detail, struct flock *lock)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return fail_errno(detail, "pipe");
	pid = fork();
	if (pid < 0) {
		fail_errno(detail, "fork");
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	if (!pid) {
		/* A child of a process with threads: system calls only. */
		memset(lock, 0, sizeof(*lock));
		if (posix_lock(F_GETLK, F_WRLCK, lock))
			_exit(1);
		_exit(write(fds[1], lock, sizeof(*lock)) != sizeof(*lock));
	}
	if (close(fds[1]))
		die_errno("close");
	n = read(fds[0], lock, sizeof(*lock));
	if (close(fds[0]))
		die_errno("close");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail_errno(detail, "waitpid");
	if (n != sizeof(*lock) || status)
		return fail(detail, "the child that asks for the lock failed");
	return true;
}

static bool lock_check(char *detail)
{
	struct flock lock;

	if (!ask_child(detail, &lock))
		return false;
	if (lock.l_type == F_UNLCK)
		return fail(detail, "the POSIX lock is not held any more");
	if (lock.l_type != F_WRLCK || lock.l_start != LOCK_START ||
	    lock.l_len != LOCK_LENGTH || lock.l_pid != getpid())
		return fail(detail,
			    "a POSIX lock of type %d, start %lld, length %lld, process %d instead of %d, %d, %d, %d",
			    lock.l_type, (long long)lock.l_start,
			    (long long)lock.l_len, (int)lock.l_pid, F_WRLCK,
			    LOCK_START, LOCK_LENGTH, (int)getpid());
	if (!flock(rival_fd, LOCK_EX | LOCK_NB))
		return fail(detail, "the BSD lock is not held any more");
	if (errno != EWOULDBLOCK)
		return fail_errno(detail, "flock");
	return pass(detail, "a POSIX and a BSD lock");
}

static bool lock_damage(char *detail)
{
	struct flock lock;

	if (posix_lock(F_SETLK, F_UNLCK, &lock))
		return fail_errno(detail, "fcntl");
	return true;
}

WITNESS = {
	.name = "file-lock",
	.kind = "files",
	.holds = "a POSIX lock and a BSD lock",
	.damages = "releases the POSIX lock",
	.order = ORDER_MAIN,
	.arm = lock_arm,
	.check = lock_check,
	.damage = lock_damage,
};
