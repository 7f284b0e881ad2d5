// SPDX-License-Identifier: GPL-2.0-only
/* What the normal kernel knows of itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "failure.h"
#include "files.h"
#include "free_content.h"
#include "handoff.h"
#include "handoff_fill.h"
#include "memory_map.h"
#include "types.h"

/*
 * What is free by the kernel's own count, and what lies in the lists of the
 * CPUs: that is not free by the count, and becomes so at any time.
 */
void count_free(struct handoff *ho)
{
	char line[256];
	unsigned long long count;
	FILE *f = fopen("/proc/zoneinfo", "re");

	ho->percpu_pages = 0;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %llu", &count) == 1)
			ho->percpu_pages += count;
	if (f && fclose(f))
		ho->percpu_pages = 0;
	ho->memfree_pages = meminfo_kb("MemFree:") / (PAGE >> 10);
}

int fill_handoff(struct handoff *ho)
{
	struct utsname uts;
	char text[128], *next;

	memset(ho, 0, sizeof(*ho));
	free_content(ho);
	memcpy(ho->magic, HANDOFF_MAGIC, sizeof(ho->magic));
	ho->version = HANDOFF_VERSION;
	if (uname(&uts))
		return fail_errno("no-release", "uname");
	snprintf(ho->release, sizeof(ho->release), "%.63s", uts.release);
	if (read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text)))
		return -1;
	text[strcspn(text, "\n")] = 0;
	snprintf(ho->boot_id, sizeof(ho->boot_id), "%.36s", text);
	if (read_iomem("System RAM", &ho->ram) ||
	    read_firmware_map(&ho->firmware))
		return -1;
	/* Optional: without it the image has no VMCOREINFO note. */
	if (!read_text("/sys/kernel/vmcoreinfo", text, sizeof(text))) {
		ho->vmcoreinfo = strtoull(text, &next, 16);
		ho->vmcoreinfo_size = strtoull(next, NULL, 16);
	}
	count_free(ho);
	ho->crc = handoff_crc(ho);
	return 0;
}
