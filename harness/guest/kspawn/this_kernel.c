// SPDX-License-Identifier: GPL-2.0-only
/* What the running kernel is. */
#include <cpuid.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "failure.h"
#include "files.h"
#include "memory_map.h"
#include "ranges.h"
#include "status.h"
#include "this_kernel.h"
#include "types.h"

/* From arch/x86/include/asm/cpufeatures.h: CPUID 7 ECX, 0x80000001 EDX. */
#define bit_LA57	(1u << 16)
#define bit_PDPE1GB	(1u << 26)

int has_five_levels(bool *five)
{
	/* Only at five levels is there anything above 2^47 to be mapped. */
	void *hint = (void *)(1UL << 52);
	void *got = mmap(hint, PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	*five = got == hint;
	if (got != MAP_FAILED && munmap(got, PAGE))
		return fail_errno("no-memory", "munmap");
	return 0;
}

/* What a jump cannot change (the depth), or the kernels' page tables use. */
static void js_paging(struct json *js)
{
	unsigned int eax, ebx, ecx, edx;
	bool five;

	if (!has_five_levels(&five))
		js_num(js, "levels", five ? 5 : 4);
	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		js_num(js, "la57", !!(ecx & bit_LA57));
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx))
		js_num(js, "pdpe1gb", !!(edx & bit_PDPE1GB));
}

void js_kernel(struct json *js)
{
	struct utsname uts;
	struct ranges ram;
	char boot_id[64] = "";

	if (!uname(&uts))
		js_str(js, "release", uts.release);
	if (!read_text("/proc/sys/kernel/random/boot_id", boot_id,
		       sizeof(boot_id)))
		boot_id[strcspn(boot_id, "\n")] = 0;
	js_str(js, "boot_id", boot_id);
	js_num(js, "memtotal_kb", meminfo_kb("MemTotal:"));
	js_num(js, "memfree_kb", meminfo_kb("MemFree:"));
	if (!read_iomem("System RAM", &ram))
		js_ranges(js, "system_ram", &ram);
	if (!read_firmware_map(&ram))
		js_ranges(js, "firmware_ram", &ram);
	js_paging(js);
}
