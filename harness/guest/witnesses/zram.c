// SPDX-License-Identifier: GPL-2.0-only
/* A zram device: its pages are compressed, and belong to no process. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "files.h"
#include "janitor.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"
#include "zramdevice.h"

#define BYTES	(256 * 1024)
/* Every second page is of one word: zram keeps the word only. */
#define SAME	0x5a

static struct zram zram;
static int device = -1;
static char bytes[BYTES];

static void clean(void)
{
	zram_remove(&zram);
}

static void zram_arm(void)
{
	if (!zram_add(&zram, BYTES))
		return;
	janitor(clean);
	device = open(zram.path, O_RDWR | O_CLOEXEC);
	if (device < 0)
		die_errno(zram.path);
	for (size_t i = 0; i < BYTES; i += PAGE) {
		fill(bytes + i, PAGE, salt("zram", 0), i);
		for (size_t j = 0; j < PAGE && i / PAGE % 2; j++)
			bytes[i + j] = SAME;
	}
	if (pwrite(device, bytes, BYTES, 0) != BYTES || !forget_cached(device))
		die_errno(zram.path);
}

static bool zram_check(char *detail)
{
	struct difference diff = { 0 };

	if (!forget_cached(device))
		return fail_errno(detail, "BLKFLSBUF");
	if (pread(device, bytes, BYTES, 0) != BYTES)
		return fail_errno(detail, "pread");
	for (size_t i = 0; i < BYTES; i += PAGE) {
		if (!(i / PAGE % 2)) {
			compare(&diff, bytes + i, PAGE, salt("zram", 0), i);
			continue;
		}
		for (size_t j = 0; j < PAGE; j++)
			if (bytes[i + j] != SAME)
				return fail(detail, "byte %zu is 0x%02x instead of 0x%02x",
					    i + j, (unsigned char)bytes[i + j],
					    SAME);
	}
	if (diff.differ)
		return fail_difference(detail, "the device", &diff);
	return pass(detail, "%d KiB on %s", BYTES / 1024, zram.path);
}

static bool zram_damage(char *detail)
{
	if (!flip_byte(detail, device, 70001))
		return false;
	return forget_cached(device) || fail_errno(detail, "BLKFLSBUF");
}

WITNESS = {
	.name = "zram",
	.kind = "memory",
	.holds = "a zram device, half of its pages of one word",
	.damages = "flips a bit of it",
	.order = ORDER_CHILDREN,
	.systemwide = true,
	.arm = zram_arm,
	.check = zram_check,
	.damage = zram_damage,
};
