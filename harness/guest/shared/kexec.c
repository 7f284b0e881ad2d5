// SPDX-License-Identifier: GPL-2.0-only
/* kexec_load(2) and the commands of reboot(2) that go with it. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "failure.h"
#include "held_registers.h"
#include "kexec.h"
#include "types.h"

#define REBOOT_MAGIC1		0xfee1dead
#define REBOOT_MAGIC2		672274793

long do_reboot(unsigned int cmd)
{
	return syscall(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, cmd, NULL);
}

/* The same, by a caller that is to come back with all its registers. */
static long do_jump(unsigned int cmd)
{
	return syscall_holding(SYS_reboot, (int)REBOOT_MAGIC1, REBOOT_MAGIC2, cmd, 0);
}

long do_kexec_load(u64 entry, unsigned long nr,
		   const struct kexec_segment *segs, unsigned long flags)
{
	return syscall(SYS_kexec_load, entry, nr, segs, flags);
}

/* Loads one page, and with it an image that is entered at @entry. */
int kexec_load_page(u64 mem, const void *page, u64 entry, bool keep_context)
{
	struct kexec_segment seg = {
		.buf = page,
		.bufsz = PAGE,
		.mem = mem,
		.memsz = PAGE,
	};

	if (do_kexec_load(entry, 1, &seg, keep_context ? KEXEC_PRESERVE_CONTEXT : 0))
		return fail_errno("no-load", "kexec_load");
	return 0;
}

/* Gives back what an image holds, the backup area included. */
int kexec_unload(void)
{
	if (do_kexec_load(0, 0, NULL, 0))
		return fail_errno("no-unload", "kexec_load");
	return 0;
}

/* Jumps with the context kept; back again, *command is how. */
int kspawn_jump(const char **command)
{
	const char *used = "LINUX_REBOOT_CMD_KSPAWN";
	long err = do_jump(REBOOT_CMD_KSPAWN);

	if (err && errno == EINVAL) {
		/* A kernel without our patch; the caller loaded what keeps context. */
		used = "LINUX_REBOOT_CMD_KEXEC";
		err = do_jump(REBOOT_CMD_KEXEC);
	}
	if (command)
		*command = used;
	return err ? fail_errno("no-jump", used) : 0;
}

bool kexec_jump_refused(void)
{
	return do_reboot(REBOOT_CMD_KEXEC) && errno == EINVAL;
}
