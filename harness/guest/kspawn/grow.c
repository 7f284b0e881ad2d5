// SPDX-License-Identifier: GPL-2.0-only
/*
 * A resuming kernel that finds no image takes the rest of the memory.
 *
 * By ARCH_MEMORY_PROBE a block is added by its address. Blocks are brought
 * online as they are added: their struct pages come out of what there is, and
 * 0-16 MiB would not hold those of all of them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "grow.h"
#include "memory_map.h"
#include "ranges.h"
#include "types.h"

#define MEMORY	"/sys/devices/system/memory/"

static int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return fail_errno("no-hotplug", path);
	n = write(fd, text, strlen(text));
	if (n != (ssize_t)strlen(text))
		fail_errno("no-hotplug", path);
	if (close(fd))
		return fail_errno("no-hotplug", path);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

int memory_grow(struct grown *grown)
{
	struct ranges firmware;
	char text[32];
	u64 block;

	memset(grown, 0, sizeof(*grown));
	if (read_text(MEMORY "block_size_bytes", text, sizeof(text)) ||
	    write_text(MEMORY "auto_online_blocks", "online") ||
	    read_firmware_map(&firmware))
		return -1;
	block = strtoull(text, NULL, 16);
	if (!block)
		return fail("no-hotplug", "a memory block has no size");
	grown->block_bytes = block;
	for (u32 i = 0; i < firmware.nr; i++) {
		u64 start = (firmware.r[i].start + block - 1) & ~(block - 1);
		u64 end = firmware.r[i].end;

		if (start < SPAWNED_END)
			start = SPAWNED_END;
		for (; start < end; start += block) {
			/* A block that is not all RAM cannot be added. */
			if (start + block > end) {
				grown->left_bytes += end - start;
				break;
			}
			snprintf(text, sizeof(text), "%#llx",
				 (unsigned long long)start);
			if (write_text(MEMORY "probe", text))
				grown->refused++;
			else
				grown->added++;
		}
	}
	if (!grown->added)
		return fail("no-hotplug", "no block of memory could be added");
	return 0;
}
