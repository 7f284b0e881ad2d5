// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest peer of a jump: a few instructions that return.
 *
 * It is loaded once and jumped into again and again, as an image that keeps
 * its context may be. A kernel that comes back by a call leaves its re-entry
 * point on a stack of its own; this one returns, and leaves none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "failure.h"
#include "kexec.h"
#include "status.h"
#include "types.h"

#define PAYLOAD_PAGE	0xf00000UL	/* RAM on every machine, below 16 MiB */

struct payload {
	u8 code[24];
	u64 rounds;		/* counted by the code */
	u8 gdt[10];		/* for the GDT register: limit, base */
} __attribute__((packed));

static const struct payload returning = {
	.code = {
		0x48, 0xff, 0x05, 0x11, 0x00, 0x00, 0x00, /* incq rounds(%rip) */
		0xc3,					  /* ret */
	},
};

/*
 * The kernel that jumps makes its GDT invalid, and is to load it again when it
 * is back. This one does that for it: the GDT of the first CPU is where the
 * cpu_entry_area begins, after the IDT, on a kernel that does not randomise it
 * (arch/x86/include/asm/cpu_entry_area.h).
 */
static const struct payload with_gdt = {
	.code = {
		0x48, 0xff, 0x05, 0x11, 0x00, 0x00, 0x00, /* incq rounds(%rip) */
		0x0f, 0x01, 0x15, 0x12, 0x00, 0x00, 0x00, /* lgdt gdt(%rip) */
		0xc3,					  /* ret */
	},
	.gdt = { 0x7f, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0xfe, 0xff, 0xff },
};

/* An exception: a kernel that can tell of one in a jump does. */
static const struct payload undefined = {
	.code = {
		0x0f, 0x0b,	/* ud2 */
		0xc3,		/* ret */
	},
};

static int run(int argc, char **argv)
{
	static u8 page[PAGE] __attribute__((aligned(4096)));
	const struct payload *payload = &returning;
	int rounds, c;
	struct json js;

	while ((c = getopt(argc, argv, "gu")) != -1) {
		if (c == '?')
			return 2;
		payload = c == 'g' ? &with_gdt : &undefined;
	}
	rounds = optind < argc ? atoi(argv[optind]) : 2;
	memcpy(page, payload, sizeof(*payload));
	if (status_open("/dev/ttyS1", true) ||
	    kexec_load_page(PAYLOAD_PAGE, page, PAYLOAD_PAGE, true)) {
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

const struct command cmd_payload = {
	.name = "payload",
	.arguments = "[-g | -u] [ROUNDS]",
	.run = run,
};
