// SPDX-License-Identifier: GPL-2.0-only
/* A private map of a file: what was changed in it is not in the file. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define BYTES	(32 * PAGE)

static int fd;
static char *map;

static void private_arm(void)
{
	fd = create_file("private");
	unlink_file("private");
	write_pattern(fd, BYTES, salt("private-file-map", 0));
	map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		die_errno("mmap");
	for (size_t at = 0; at < BYTES; at += 2 * PAGE)
		fill(map + at, PAGE, salt("private-file-map", 1), at);
}

static bool private_check(char *detail)
{
	struct difference diff = { 0 };

	for (size_t at = 0; at < BYTES; at += PAGE)
		compare(&diff, map + at, PAGE,
			salt("private-file-map", !(at / PAGE % 2)), at);
	if (diff.differ)
		return fail_difference(detail, "mapped", &diff);
	if (!check_file(detail, fd, BYTES, salt("private-file-map", 0)))
		return false;
	return pass(detail, "%lu pages, half of them changed", BYTES / PAGE);
}

static bool private_damage(char *detail)
{
	(void)detail;
	map[2 * PAGE + 99] ^= 16;
	return true;
}

WITNESS = {
	.name = "private-file-map",
	.kind = "memory",
	.holds = "a private map of a file, half of it changed",
	.damages = "flips a bit of a changed page",
	.order = ORDER_MAIN,
	.arm = private_arm,
	.check = private_check,
	.damage = private_damage,
};
