// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jumps back to the kernel that jumped here, as the spawned kernels' init does:
 * the page of the jump back entry is loaded onto itself, so that the identity
 * mapping of kexec covers it. It stands in for kexec --load-jump-back-helper.
 */
#include <stdio.h>
#include <stdlib.h>

#include "failure.h"
#include "jump_back.h"
#include "kexec.h"
#include "types.h"

int main(int argc, char **argv)
{
	u64 entry;

	if (argc != 2) {
		fprintf(stderr, "usage: jumpback ENTRY\n");
		return 2;
	}
	entry = strtoull(argv[1], NULL, 0);
	if (jump_back_load(entry, false)) {
		fprintf(stderr, "jumpback: %s\n", failure.detail);
		return 1;
	}
	do_reboot(REBOOT_CMD_KEXEC);
	perror("jumpback: reboot");
	return 1;
}
