// SPDX-License-Identifier: GPL-2.0-only
/* A cgroup of version 2, for a helper alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "files.h"
#include "options.h"
#include "report.h"
#include "types.h"

bool cgroup_says(const char *file, const char *line)
{
	FILE *stream = fopen(file, "re");
	bool found = false;
	char is[128];

	if (!stream)
		return false;
	while (!found && fgets(is, sizeof(is), stream)) {
		is[strcspn(is, "\n")] = 0;
		found = !strcmp(is, line);
	}
	fclose(stream);
	return found;
}

/*
 * When the helper has ended, however that was, its cgroup goes, too: by a
 * descriptor, because the directory that it is mounted on may be gone by then.
 */
static void leave_nothing(int root, const char *name)
{
	int ends[2];
	char byte;

	if (pipe2(ends, O_CLOEXEC))
		die_errno("pipe2");
	switch (fork()) {
	case -1:
		die_errno("fork");
		break;
	case 0:
		close(ends[1]);
		while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
			;
		write_text("cgroup.kill", "1");
		if (chdir("/"))
			_exit(1);
		for (int i = 0; i < 1000 && unlinkat(root, name, AT_REMOVEDIR) &&
		     errno == EBUSY; i++)
			usleep(10000);
		_exit(0);
	default:
		close(ends[0]);
	}
}

bool make_cgroup(const char *name)
{
	char path[64];
	int root;

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("kspawn", options.dir, "cgroup2", 0, NULL)) {
		not_here("no cgroup v2: %s", strerror(errno));
		return false;
	}
	snprintf(path, sizeof(path), "kspawn-%s-%d", name, (int)getpid());
	root = open(options.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || mkdirat(root, path, 0700) || fchdir(root) ||
	    chdir(path)) {
		not_here("no right to make a cgroup: %s", strerror(errno));
		return false;
	}
	leave_nothing(root, path);
	close(root);
	return true;
}
