// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /proc says of each process of user space, for harness/cycle/witness.py:
 * a line "@@ PID FILE" before each file. A shell needs ten processes for each
 * process, which shows where there is an emulator.
 *
 * Most lines are those of another process, such as the limits, or what a child has
 * mapped as its parent. Such a line is said once; after that it is "=N", the
 * number of the line that it was.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit_codes.h"
#include "pattern.h"
#include "processes.h"
#include "types.h"

static const char *const files[] = { "stat", "status", "limits", "maps" };

/* As many lines as are remembered; what is above is said again each time. */
#define MAX_KNOWN	16384

static struct known {
	char *line;
	unsigned int number;
} known[2 * MAX_KNOWN];

static unsigned int lines;

static void put_line(const char *line)
{
	uint64_t hash = 0;
	size_t at;

	for (const char *c = line; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	hash = mix(hash, 0);
	for (at = hash % ARRAY_SIZE(known); known[at].line;
	     at = (at + 1) % ARRAY_SIZE(known)) {
		if (strcmp(known[at].line, line))
			continue;
		printf("=%u\n", known[at].number);
		return;
	}
	if (lines < MAX_KNOWN) {
		known[at].line = strdup(line);
		known[at].number = lines;
	}
	lines++;
	puts(line);
}

/* One that ends meanwhile is no error: it has nothing to say. */
static void put_file(const char *path)
{
	static char buffer[1 << 16], *line;
	static size_t size;
	FILE *file = fopen(path, "re");

	if (!file)
		return;
	/* Else musl reads 1 KiB a time. */
	setvbuf(file, buffer, _IOFBF, sizeof(buffer));
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		put_line(line);
	}
	if (fclose(file))
		perror(path);
}

static void put_descriptor(const char *folder, const char *name)
{
	char path[600], target[PATH_MAX], line[PATH_MAX + 300];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	n = readlink(path, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = 0;
	/* A name may have one in it, and lines are counted. */
	for (char *c = target; (c = strchr(c, '\n'));)
		*c = '?';
	snprintf(line, sizeof(line), "%s %s", name, target);
	put_line(line);
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
	static char buffer[1 << 16];

	if (setvbuf(stdout, buffer, _IOFBF, sizeof(buffer)))
		return UNREACHABLE;
	each("/proc", put_process);
	return fflush(stdout) || ferror(stdout) ? UNREACHABLE : GOOD;
}
