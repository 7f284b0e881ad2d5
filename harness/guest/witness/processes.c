// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /proc says of each process of user space, for harness/cycle/witness.py:
 * a line "@@ PID FILE" before each file. A shell needs ten processes for each
 * process, which shows where there is an emulator.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "exit_codes.h"
#include "processes.h"
#include "types.h"

static const char *const files[] = { "stat", "status", "limits", "maps" };

/* One that ends meanwhile is no error: it has nothing to say. */
static void put_file(const char *path)
{
	char block[4096];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while ((n = read(fd, block, sizeof(block))) > 0)
		if (fwrite(block, 1, n, stdout) != (size_t)n)
			break;
	if (close(fd))
		perror(path);
}

static void put_descriptor(const char *folder, const char *name)
{
	char path[600], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	printf("%s %s\n", name, target);
}

static void put_task(const char *folder, const char *name)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s/stat", folder, name);
	put_file(path);
}

static void each(const char *folder, void (*put)(const char *, const char *))
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			put(folder, entry->d_name);
	if (dir && closedir(dir))
		perror(folder);
}

static void put_process(const char *proc, const char *pid)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s/exe", proc, pid);
	/* Kernel threads have none. */
	if (access(path, F_OK))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		printf("@@ %s %s\n", pid, files[i]);
		snprintf(path, sizeof(path), "%s/%s/%s", proc, pid, files[i]);
		put_file(path);
	}
	printf("@@ %s fd\n", pid);
	snprintf(path, sizeof(path), "%s/%s/fd", proc, pid);
	each(path, put_descriptor);
	printf("@@ %s task\n", pid);
	snprintf(path, sizeof(path), "%s/%s/task", proc, pid);
	each(path, put_task);
}

int processes(void)
{
	each("/proc", put_process);
	return fflush(stdout) || ferror(stdout) ? UNREACHABLE : GOOD;
}
