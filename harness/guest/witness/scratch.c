// SPDX-License-Identifier: GPL-2.0-only
/* Files of the witness. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "pattern.h"
#include "report.h"
#include "scratch.h"

#define CHUNK		65536UL

void file_name(char *path, const char *suffix)
{
	int n = snprintf(path, PATH_MAX, "%s/witness-%016llx.%s", options.dir,
			 (unsigned long long)nonce, suffix);

	if (n >= PATH_MAX)
		die("the path of the directory is too long");
}

int create_file(const char *suffix)
{
	char path[PATH_MAX];
	int fd;

	file_name(path, suffix);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die_errno(path);
	return fd;
}

int open_file(const char *suffix)
{
	char path[PATH_MAX];
	int fd;

	file_name(path, suffix);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die_errno(path);
	return fd;
}

void unlink_file(const char *suffix)
{
	char path[PATH_MAX];

	file_name(path, suffix);
	if (unlink(path))
		die_errno(path);
}

void write_pattern(int fd, size_t bytes, unsigned int salt)
{
	static char buffer[CHUNK];

	for (size_t offset = 0; offset < bytes; offset += CHUNK) {
		size_t n = bytes - offset < CHUNK ? bytes - offset : CHUNK;
		ssize_t written;

		fill(buffer, n, salt, offset);
		written = pwrite(fd, buffer, n, offset);
		if (written < 0)
			die_errno("pwrite");
		if ((size_t)written != n)
			die("pwrite: only %zd of %zu bytes", written, n);
	}
}

bool check_file(char *detail, int fd, size_t bytes, unsigned int salt)
{
	static char buffer[CHUNK];
	struct difference diff = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return fail_errno(detail, "fstat");
	if ((size_t)st.st_size != bytes)
		return fail(detail, "%lld bytes instead of %zu",
			    (long long)st.st_size, bytes);
	for (size_t offset = 0; offset < bytes; offset += CHUNK) {
		size_t n = bytes - offset < CHUNK ? bytes - offset : CHUNK;
		ssize_t got = pread(fd, buffer, n, offset);

		if (got < 0)
			return fail_errno(detail, "pread");
		if ((size_t)got != n)
			return fail(detail, "pread: only %zd of %zu bytes", got,
				    n);
		compare(&diff, buffer, n, salt, offset);
	}
	return diff.differ ? fail_difference(detail, "read", &diff) : true;
}

/* Flips a bit of the byte at an offset. */
bool damage_file(char *detail, int fd, off_t offset)
{
	char c;

	if (pread(fd, &c, 1, offset) != 1)
		return fail_errno(detail, "pread");
	c ^= 1;
	if (pwrite(fd, &c, 1, offset) != 1)
		return fail_errno(detail, "pwrite");
	return true;
}
