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
#include <sys/resource.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "grow.h"
#include "memory_map.h"
#include "ranges.h"
#include "types.h"

#define MEMORY	"/sys/devices/system/memory/"
#define THREADS	"/proc/sys/kernel/threads-max"
/* What set_max_threads() of kernel/fork.c counts for one: 8 stacks of 16 KiB. */
#define THREAD_KB	128

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

/*
 * The kernel worked out how many processes there may be when it had 0-16 MiB:
 * some fifty, too few for a userland. It never does so again by itself.
 */
static int limits_grow(void)
{
	u64 threads = meminfo_kb("MemTotal:") / THREAD_KB;
	const struct rlimit each = { threads / 2, threads / 2 };
	char text[32];

	/* Without CONFIG_SYSCTL it stays as it is. */
	if (access(THREADS, F_OK))
		return 0;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)threads);
	if (write_text(THREADS, text))
		return -1;
	/* What it gave its first process; the others have it from there. */
	if (setrlimit(RLIMIT_NPROC, &each) ||
	    setrlimit(RLIMIT_SIGPENDING, &each))
		return fail_errno("no-hotplug", "setrlimit");
	return 0;
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
	return limits_grow();
}
