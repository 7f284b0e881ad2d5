// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process that holds a lock of a named file, and another one that tries to take
 * it: on whatever filesystem the file is, and by whatever path.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "exit_codes.h"
#include "locks.h"
#include "relay.h"
#include "types.h"

static int take_posix(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_SETLK, &lock);
}

static int take_ofd(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int take_bsd(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB);
}

static const struct {
	const char *name;
	int (*take)(int fd);
} kinds[] = {
	{ "posix", take_posix },
	{ "ofd", take_ofd },
	{ "flock", take_bsd },
};

static size_t kind_of(const char *name)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(kinds) && strcmp(kinds[i].name, name))
		i++;
	return i;
}

/* What holds it: no child of whoever asked for it, until it is killed. */
static _Noreturn void keep(size_t kind, int fd, int told)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0)
		_exit(error(UNREACHABLE, "a process of its own: %s", strerror(errno)));
	if (kinds[kind].take(fd))
		_exit(error(SETUP_FAILED, "%s: %s", kinds[kind].name, strerror(errno)));
	for (int i = 0; i < 3; i++)
		if (dup2(null, i) < 0)
			_exit(UNREACHABLE);
	if (write(told, "", 1) != 1 || close(told))
		_exit(UNREACHABLE);
	for (;;)
		pause();
}

/* A POSIX lock is not a child's: the process that stays takes it, and tells. */
static int hold(size_t kind, int fd)
{
	int told[2];
	pid_t pid;
	char c;

	if (pipe2(told, O_CLOEXEC))
		return error(UNREACHABLE, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return error(UNREACHABLE, "fork: %s", strerror(errno));
	if (!pid)
		keep(kind, fd, told[1]);
	if (close(told[1]) || read(told[0], &c, 1) != 1)
		return SETUP_FAILED;
	printf("{\"pid\": %d}\n", (int)pid);
	return fflush(stdout) ? UNREACHABLE : GOOD;
}

static int try_to_take(size_t kind, int fd)
{
	bool taken = !kinds[kind].take(fd);

	if (!taken && errno != EAGAIN && errno != EACCES)
		return error(UNREACHABLE, "%s: %s", kinds[kind].name, strerror(errno));
	printf("{\"taken\": %s}\n", taken ? "true" : "false");
	return fflush(stdout) ? UNREACHABLE : GOOD;
}

/* lock hold|try KIND FILE: holds a lock, says whether another one may take it. */
int locks(int argc, char **argv)
{
	size_t kind;
	int fd;

	if (argc != 3 || (strcmp(argv[0], "hold") && strcmp(argv[0], "try")))
		return WRONG_USAGE;
	kind = kind_of(argv[1]);
	if (kind == ARRAY_SIZE(kinds))
		return WRONG_USAGE;
	fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error(UNREACHABLE, "%s: %s", argv[2], strerror(errno));
	return strcmp(argv[0], "hold") ? try_to_take(kind, fd) : hold(kind, fd);
}
