// SPDX-License-Identifier: GPL-2.0-only
/* What memory there is: /proc/iomem and /sys/firmware/memmap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "memory_map.h"
#include "ranges.h"

int read_iomem(const char *name, struct ranges *ranges)
{
	char line[256];
	unsigned long long start, end;
	int used, err = 0;
	FILE *f = fopen("/proc/iomem", "re");

	ranges->nr = 0;
	if (!f)
		return fail_errno("no-file", "/proc/iomem");
	while (!err && fgets(line, sizeof(line), f)) {
		/* Children are indented: only the top level counts. */
		if (sscanf(line, "%llx-%llx : %n", &start, &end, &used) != 2 ||
		    line[0] == ' ')
			continue;
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line + used, name))
			err = ranges_add(ranges, start, end + 1);
	}
	if (fclose(f) && !err)
		return fail_errno("no-file", "/proc/iomem");
	return err;
}

int read_firmware_map(struct ranges *ranges)
{
	char path[80], text[64];
	unsigned long long start, end;

	ranges->nr = 0;
	for (int i = 0;; i++) {
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/type", i);
		if (access(path, R_OK))
			break;
		if (read_text(path, text, sizeof(text)))
			return -1;
		if (strncmp(text, "System RAM", 10))
			continue;
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/start", i);
		if (read_text(path, text, sizeof(text)))
			return -1;
		start = strtoull(text, NULL, 16);
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/end", i);
		if (read_text(path, text, sizeof(text)))
			return -1;
		end = strtoull(text, NULL, 16);
		if (ranges_add(ranges, start, end + 1))
			return -1;
	}
	return 0;
}
