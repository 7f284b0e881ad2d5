// SPDX-License-Identifier: GPL-2.0-only
/* The disk with the image. */
#define _GNU_SOURCE	/* O_DIRECT */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk.h"
#include "failure.h"
#include "types.h"

void *disk_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		fail_errno("no-memory", "mmap");
		return NULL;
	}
	return p;
}

int disk_write(int fd, const void *buf, size_t len, u64 offset)
{
	const u8 *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOSPC)
			return fail_errno("disk-error", "write of the image");
		if (n <= 0)
			return fail("no-space", "the disk ends at %llu bytes",
				    (unsigned long long)offset);
		p += n;
		len -= n;
		offset += n;
	}
	return 0;
}

int disk_read(int fd, void *buf, size_t len, u64 offset)
{
	u8 *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("disk-error", "read of the image");
		if (!n)
			return fail("truncated", "the disk ends at %llu bytes",
				    (unsigned long long)offset);
		p += n;
		len -= n;
		offset += n;
	}
	return 0;
}

int disk_open(const char *path, int flags)
{
	int fd = -1;

	/* Some controllers find their disks after init has started. */
	for (int tries = 0; fd < 0 && tries < 100; tries++) {
		fd = open(path, flags | O_DIRECT | O_CLOEXEC);
		/* A file on a host may lie where there is no such I/O. */
		if (fd < 0 && errno == EINVAL)
			fd = open(path, flags | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT && errno != ENXIO)
			break;
		if (fd < 0)
			usleep(100000);
	}
	return fd < 0 ? fail_errno("no-disk", path) : fd;
}
