/* SPDX-License-Identifier: GPL-2.0-only */
/* kexec_load(2) and the commands of reboot(2) that go with it. */
#ifndef KEXEC_H
#define KEXEC_H

#include "types.h"

/* From include/uapi/linux/kexec.h; the last two are ours, see kernels/patches. */
#define KEXEC_ON_CRASH		0x1
#define KEXEC_PRESERVE_CONTEXT	0x2
#define KEXEC_IN_PLACE		0x10
#define KEXEC_MORE		0x20
#define KEXEC_SEGMENT_MAX	16

/* From include/uapi/linux/reboot.h; KSPAWN is ours, see kernels/patches. */
#define REBOOT_CMD_POWER_OFF	0x4321fedc
#define REBOOT_CMD_RESTART	0x01234567
#define REBOOT_CMD_KEXEC	0x45584543
#define REBOOT_CMD_KSPAWN	0x4e57504b

struct kexec_segment {
	const void *buf;
	size_t bufsz;
	u64 mem;
	size_t memsz;
};

long do_reboot(unsigned int cmd);
long do_kexec_load(u64 entry, unsigned long nr,
		   const struct kexec_segment *segs, unsigned long flags);
/* Loads one page, and with it an image that is entered at @entry. */
int kexec_load_page(u64 mem, const void *page, u64 entry, bool keep_context);
int kexec_unload(void);
/* Jumps with the context kept; back again, *command is how. */
int kspawn_jump(const char **command);
/* Tries to jump where nothing may be loaded; does not return if something is. */
bool kexec_jump_refused(void);

#endif
