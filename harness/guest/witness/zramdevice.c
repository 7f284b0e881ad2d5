// SPDX-License-Identifier: GPL-2.0-only
/* A zram device. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "report.h"
#include "types.h"
#include "zramdevice.h"

#define CONTROL	"/sys/class/zram-control/"

static bool write_number(const char *path, size_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", number);
	return write_text(path, text);
}

void zram_remove(const struct zram *zram)
{
	/* It is busy as long as somebody looks what is on it. */
	for (int i = 0; i < 100; i++) {
		if (write_number(CONTROL "hot_remove", zram->number) ||
		    errno != EBUSY)
			break;
		usleep(10000);
	}
}

bool zram_add(struct zram *zram, size_t bytes)
{
	int fd = open(CONTROL "hot_add", O_RDONLY | O_CLOEXEC);
	char text[32] = "", path[64];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0) {
		not_here("no CONFIG_ZRAM, or no right: %s", strerror(errno));
		return false;
	}
	zram->number = atoi(text);
	snprintf(zram->path, sizeof(zram->path), "/dev/zram%d", zram->number);
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize",
		 zram->number);
	if (write_number(path, bytes) && !access(zram->path, R_OK | W_OK))
		return true;
	not_here("%s: %s", zram->path, strerror(errno));
	zram_remove(zram);
	return false;
}
