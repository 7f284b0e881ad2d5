// SPDX-License-Identifier: GPL-2.0-only
/* Files and devices that witnesses write to. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "files.h"
#include "report.h"
#include "types.h"

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t bytes = strlen(text);
	bool good = fd >= 0 && write(fd, text, bytes) == bytes;

	if (fd >= 0)
		close(fd);
	return good;
}

bool forget_cached(int fd)
{
	return !fsync(fd) && !ioctl(fd, BLKFLSBUF, 0);
}

bool flip_byte(char *detail, int fd, off_t offset)
{
	char byte;

	if (pread(fd, &byte, 1, offset) != 1)
		return fail_errno(detail, "pread");
	byte ^= 2;
	if (pwrite(fd, &byte, 1, offset) != 1)
		return fail_errno(detail, "pwrite");
	return true;
}
