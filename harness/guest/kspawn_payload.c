// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest peer of a jump: a few instructions that return.
 *
 * It is loaded once and jumped into again and again, as an image that keeps
 * its context may be. A kernel that comes back by a call leaves its re-entry
 * point on a stack of its own; this one returns, and leaves none.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kspawn.h"

#define PAYLOAD_PAGE	0xf00000UL	/* RAM on every machine, below 16 MiB */

static u8 payload[PAGE] __attribute__((aligned(4096))) = {
	0x48, 0xff, 0x05, 0x01, 0x00, 0x00, 0x00,	/* incq 1(%rip) */
	0xc3,						/* ret */
	/* the counter */
};

int cmd_payload(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2;
	struct json js;

	if (status_open("/dev/ttyS1", true) ||
	    kexec_load_page(PAYLOAD_PAGE, payload, PAYLOAD_PAGE, true)) {
		fprintf(stderr, "kspawn: %s: %s\n", failure.status,
			failure.detail);
		return 1;
	}
	for (int i = 1; i <= rounds; i++) {
		if (kspawn_jump(NULL)) {
			fprintf(stderr, "kspawn: jump %d: %s\n", i,
				failure.detail);
			return 1;
		}
		js_begin(&js, "normal", "payload");
		js_num(&js, "round", i);
		js_emit(&js);
	}
	return kexec_unload() ? 1 : 0;
}
