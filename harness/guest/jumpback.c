// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jumps back to the kernel that jumped here, as the spawned kernels' init does:
 * the page of the jump back entry is loaded onto itself, so that the identity
 * mapping of kexec covers it. It stands in for kexec --load-jump-back-helper.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kspawn.h"

#define REBOOT_MAGIC1		0xfee1dead
#define REBOOT_MAGIC2		672274793
#define REBOOT_CMD_KEXEC	0x45584543

struct segment {
	const void *buf;
	size_t bufsz;
	u64 mem;
	size_t memsz;
};

int main(int argc, char **argv)
{
	static u8 page[PAGE] __attribute__((aligned(4096)));
	struct segment segment = { page, PAGE, 0, PAGE };
	u64 entry;

	if (argc != 2) {
		fprintf(stderr, "usage: jumpback ENTRY\n");
		return 2;
	}
	entry = strtoull(argv[1], NULL, 0);
	segment.mem = entry & ~(PAGE - 1);
	if (phys_read(segment.mem, page, PAGE)) {
		fprintf(stderr, "jumpback: %s\n", failure.detail);
		return 1;
	}
	if (syscall(SYS_kexec_load, entry, 1, &segment, 0)) {
		perror("jumpback: kexec_load");
		return 1;
	}
	syscall(SYS_reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_CMD_KEXEC, NULL);
	perror("jumpback: reboot");
	return 1;
}
