// SPDX-License-Identifier: GPL-2.0-only
/*
 * A shell in the spawned kernels, on a serial port of its own: there is no room
 * in 0-16 MiB for another program, and what a developer wants there is little.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "backup.h"
#include "failure.h"
#include "files.h"
#include "physical.h"
#include "shell.h"
#include "status.h"
#include "types.h"

#define SHELL_PORT	"/dev/ttyS3"
#define LOG_READ_ALL	3	/* SYSLOG_ACTION_READ_ALL */
#define MAX_DUMP	(1UL << 20)

struct shell {
	FILE *in;
	int out;
	u64 entry;
};

static void complain(const struct shell *sh, const char *what)
{
	dprintf(sh->out, "%s: %s\n", what, strerror(errno));
}

static void cmd_help(const struct shell *sh)
{
	dprintf(sh->out,
		"ls [FOLDER]             what is in a folder\n"
		"cat FILE                a file, such as /proc/meminfo\n"
		"write FILE TEXT         TEXT into a file, such as one of /sys\n"
		"ps                      the tasks\n"
		"dmesg                   the log of this kernel\n"
		"mem ADDRESS [BYTES]     physical memory\n"
		"normal ADDRESS [BYTES]  the same of the normal kernel, which has its\n"
		"                        first 16 MiB elsewhere meanwhile\n"
		"go                      go on with what this kernel is here for\n");
}

static void cmd_ls(const struct shell *sh, const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	if (!dir) {
		complain(sh, path);
		return;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			dprintf(sh->out, "%s%s\n", entry->d_name,
				entry->d_type == DT_DIR ? "/" : "");
	if (closedir(dir))
		complain(sh, path);
}

static void cmd_cat(const struct shell *sh, const char *path)
{
	char buf[1024];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got;

	if (fd < 0) {
		complain(sh, path);
		return;
	}
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		if (write(sh->out, buf, got) != got)
			break;
	if (got < 0)
		complain(sh, path);
	if (close(fd))
		complain(sh, path);
}

static void cmd_write(const struct shell *sh, const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0) {
		complain(sh, path);
		return;
	}
	if (write(fd, text, len) != (ssize_t)len)
		complain(sh, path);
	if (close(fd))
		complain(sh, path);
}

static void cmd_ps(const struct shell *sh)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	if (!dir) {
		complain(sh, "/proc");
		return;
	}
	while ((entry = readdir(dir))) {
		char path[300], text[256];

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		/* One that ended meanwhile is no error. */
		if (!read_text(path, text, sizeof(text)))
			dprintf(sh->out, "%.60s\n", text);
	}
	if (closedir(dir))
		complain(sh, "/proc");
}

static void cmd_dmesg(const struct shell *sh)
{
	static char buf[16384];
	int got = klogctl(LOG_READ_ALL, buf, sizeof(buf));

	if (got < 0)
		complain(sh, "dmesg");
	else if (write(sh->out, buf, got) != got)
		complain(sh, "dmesg");
}

static int dump_line(const struct shell *sh, u64 phys, size_t len,
		     int (*from)(u64 phys, void *buf, size_t len))
{
	u8 data[16];
	char text[sizeof(data) + 1];

	if (from(phys, data, len)) {
		dprintf(sh->out, "%#llx: %s\n", (unsigned long long)phys,
			failure.detail);
		return -1;
	}
	dprintf(sh->out, "%012llx ", (unsigned long long)phys);
	for (size_t i = 0; i < len; i++) {
		dprintf(sh->out, " %02x", data[i]);
		text[i] = isprint(data[i]) ? (char)data[i] : '.';
	}
	text[len] = 0;
	dprintf(sh->out, "  %s\n", text);
	return 0;
}

static void cmd_mem(const struct shell *sh, const char *at, const char *bytes,
		    int (*from)(u64 phys, void *buf, size_t len))
{
	char *end;
	u64 phys = strtoull(at, &end, 0);
	u64 len = 64;

	if (*end || end == at) {
		dprintf(sh->out, "%s is no address\n", at);
		return;
	}
	if (bytes)
		len = strtoull(bytes, &end, 0);
	if (*end || len > MAX_DUMP) {
		dprintf(sh->out, "%s is no size up to %lu\n", bytes, MAX_DUMP);
		return;
	}
	for (u64 done = 0; done < len; done += 16)
		if (dump_line(sh, phys + done, MIN(16, len - done), from))
			return;
}

/* Runs a command; returns whether it was the last. */
static bool run(const struct shell *sh, char *line)
{
	char *save = NULL;
	const char *name = strtok_r(line, " \t\r\n", &save);
	const char *first, *rest;

	if (!name)
		return false;
	first = strtok_r(NULL, " \t\r\n", &save);
	rest = strtok_r(NULL, "\r\n", &save);
	if (!strcmp(name, "go"))
		return true;
	if (!strcmp(name, "ls"))
		cmd_ls(sh, first ? first : "/");
	else if (!strcmp(name, "cat") && first)
		cmd_cat(sh, first);
	else if (!strcmp(name, "write") && rest)
		cmd_write(sh, first, rest);
	else if (!strcmp(name, "ps"))
		cmd_ps(sh);
	else if (!strcmp(name, "dmesg"))
		cmd_dmesg(sh);
	else if (!strcmp(name, "mem") && first)
		cmd_mem(sh, first, rest, phys_read);
	else if (!strcmp(name, "normal") && first)
		cmd_mem(sh, first, rest, normal_read);
	else
		cmd_help(sh);
	return false;
}

/* Serves commands on the shell's port until one says to go on. */
void spawned_shell(const char *role, u64 entry)
{
	struct shell sh = { .entry = entry };
	char line[256];

	sh.in = fopen(SHELL_PORT, "re");
	sh.out = open(SHELL_PORT, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (!sh.in || sh.out < 0) {
		fail_errno("no-shell", SHELL_PORT);
		status_failure(role, "error");
		return;
	}
	/* Not known on every kernel: then `normal` says so. */
	if (sh.entry && backup_map_read(sh.entry))
		sh.entry = 0;
	status(role, "shell");
	for (;;) {
		dprintf(sh.out, "%s> ", role);
		if (!fgets(line, sizeof(line), sh.in) || run(&sh, line))
			break;
	}
	if (fclose(sh.in) || close(sh.out)) {
		fail_errno("no-shell", SHELL_PORT);
		status_failure(role, "error");
	}
}
