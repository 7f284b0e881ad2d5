// SPDX-License-Identifier: GPL-2.0-only
/* Small text files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "types.h"

int read_text(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail_errno("no-file", path);
	while (len < size - 1) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail_errno("no-file", path);
			close(fd);
			return -1;
		}
		if (!n)
			break;
		len += n;
	}
	buf[len] = 0;
	if (close(fd))
		return fail_errno("no-file", path);
	return 0;
}

u64 meminfo_kb(const char *key)
{
	char text[4096], *at;

	if (read_text("/proc/meminfo", text, sizeof(text)))
		return 0;
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}
