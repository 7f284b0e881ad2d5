// SPDX-License-Identifier: GPL-2.0-only
/* What kexec_load(2) must refuse: asked, and its answers told. */
#include <errno.h>
#include <string.h>

#include "failure.h"
#include "files.h"
#include "in_place_probe.h"
#include "kexec.h"
#include "memory_map.h"
#include "ranges.h"
#include "status.h"
#include "types.h"

static const char *errno_name(int err)
{
	switch (err) {
	case 0:
		return "ok";
	case EADDRNOTAVAIL:
		return "EADDRNOTAVAIL";
	case EBUSY:
		return "EBUSY";
	case EFAULT:
		return "EFAULT";
	case EINVAL:
		return "EINVAL";
	case ENOMEM:
		return "ENOMEM";
	default:
		return strerror(err);
	}
}

struct probe {
	const char *name;
	struct kexec_segment seg;
	u64 entry;
	unsigned long flags;
};

static void js_probe(struct json *js, const struct probe *probe)
{
	long err = do_kexec_load(probe->entry, 1, &probe->seg, probe->flags);

	js_str(js, probe->name, errno_name(err ? errno : 0));
}

/* Whether the kernel keeps others away from what it was given. */
static bool claimed(u64 start, u64 end)
{
	struct ranges ranges;

	return !read_iomem("Kexec image", &ranges) && ranges.nr == 1 &&
	       ranges.r[0].start == start && ranges.r[0].end == end;
}

int in_place_probe(const char *role)
{
	static u8 page[PAGE] __attribute__((aligned(4096)));
	const u64 high = SPAWNED_END;
	const unsigned long in_place = KEXEC_IN_PLACE, more = KEXEC_IN_PLACE | KEXEC_MORE;
	struct ranges ram, firmware;
	u64 own, own_end, top, half;
	struct json js;

	if (read_iomem("System RAM", &ram) || read_firmware_map(&firmware))
		return -1;
	if (!ram.nr || !firmware.nr)
		return fail("no-file", "no memory in /proc/iomem or in the firmware's map");
	own = ram.r[ram.nr - 1].start;
	own_end = ram.r[ram.nr - 1].end & ~(PAGE - 1);
	top = firmware.r[firmware.nr - 1].end & ~(PAGE - 1);
	/* More than half of what this kernel has, and not its own. */
	half = (meminfo_kb("MemTotal:") << 10) & ~(PAGE - 1);
	if (high + half > top)
		return fail("no-memory", "there is no RAM above 16 MiB to ask for");

	const struct probe probes[] = {
		{ "own_memory", { page, PAGE, own, PAGE }, 0, more },
		{ "end_of_own_memory", { page, PAGE, own_end - PAGE, 4 * PAGE }, 0, more },
		{ "around_own_memory", { page, PAGE, 0, high + PAGE }, 0, more },
		{ "vga", { page, PAGE, 0xa0000, PAGE }, 0, more },
		{ "local_apic", { page, PAGE, 0xfee00000, PAGE }, 0, more },
		{ "no_ram", { page, PAGE, top, PAGE }, 0, more },
		{ "end_of_ram", { page, PAGE, top - PAGE, 2 * PAGE }, 0, more },
		{ "unaligned", { page, PAGE, high + 16, PAGE }, 0, more },
		{ "entry_outside", { page, PAGE, high, PAGE }, high + PAGE, in_place },
		{ "no_buffer", { NULL, PAGE, high, PAGE }, 0, more },
		{ "more_alone", { page, PAGE, high, PAGE }, 0, KEXEC_MORE },
		{ "on_crash", { page, PAGE, high, PAGE }, high, in_place | KEXEC_ON_CRASH },
		{ "half_copied", { page, PAGE, high, half }, high, 0 },
		{ "half_in_place", { page, PAGE, high, half }, 0, more },
		{ "end_of_ram_in_place", { page, PAGE, top - PAGE, PAGE }, 0, more },
		{ "entry_inside", { page, PAGE, high, PAGE }, high + PAGE - 1, in_place },
	};

	js_begin(&js, role, "probed");
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++)
		js_probe(&js, &probes[i]);
	/* The last one is loaded. */
	js_str(&js, "claimed", claimed(high, high + PAGE) ? "yes" : "no");
	js_probe(&js, &(struct probe){ "after_more", { page, PAGE, high, PAGE }, 0, more });
	js_str(&js, "claimed_after", claimed(high, high + PAGE) ? "yes" : "no");
	/* KEXEC_MORE unloaded what there was: this must not go anywhere. */
	js_str(&js, "jump", kexec_jump_refused() ? "EINVAL" : "not refused");
	js_emit(&js);
	return 0;
}
