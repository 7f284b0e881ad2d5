// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jump to where the normal kernel left. Its own swap_pages brings 0-16 MiB
 * back from the backup area; all that is loaded is the page of the entry, onto
 * itself, so that the identity mapping of kexec covers it.
 */
#include "failure.h"
#include "jump_back.h"
#include "kexec.h"
#include "physical.h"
#include "types.h"

int jump_back_load(u64 entry, bool keep_context)
{
	static u8 page[PAGE] __attribute__((aligned(4096)));
	u64 mem = entry & ~(PAGE - 1);

	if (phys_read(mem, page, PAGE))
		return -1;
	return kexec_load_page(mem, page, entry, keep_context);
}

int jump_back_go(void)
{
	do_reboot(REBOOT_CMD_KEXEC);
	return fail_errno("no-jump", "reboot(LINUX_REBOOT_CMD_KEXEC)");
}

int jump_back(u64 entry)
{
	return jump_back_load(entry, false) ? -1 : jump_back_go();
}
