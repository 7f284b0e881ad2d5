// SPDX-License-Identifier: GPL-2.0-only
/* A file in tmpfs with holes: a page of data in every 16. */
#define _GNU_SOURCE
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define STRIDE	(16 * PAGE)
#define PIECES	8

static int fd;

static void sparse_arm(void)
{
	static char page[PAGE];

	fd = create_file("sparse");
	unlink_file("sparse");
	for (size_t i = 0; i < PIECES; i++) {
		fill(page, PAGE, salt("sparse-file", 0), i * STRIDE);
		if (pwrite(fd, page, PAGE, i * STRIDE) != (ssize_t)PAGE)
			die_errno("pwrite");
	}
	if (ftruncate(fd, PIECES * STRIDE))
		die_errno("ftruncate");
}

static bool sparse_check(char *detail)
{
	static char page[PAGE];
	struct difference diff = { 0 };

	for (size_t i = 0; i < PIECES; i++) {
		off_t data = lseek(fd, i * STRIDE, SEEK_DATA);
		off_t hole = lseek(fd, i * STRIDE, SEEK_HOLE);

		if (data != (off_t)(i * STRIDE) ||
		    hole != (off_t)(i * STRIDE + PAGE))
			return fail(detail, "piece %zu is from %lld to %lld", i,
				    (long long)data, (long long)hole);
		if (pread(fd, page, PAGE, data) != (ssize_t)PAGE)
			return fail_errno(detail, "pread");
		compare(&diff, page, PAGE, salt("sparse-file", 0), i * STRIDE);
	}
	if (diff.differ)
		return fail_difference(detail, "a piece", &diff);
	return pass(detail, "%d pieces, holes between them", PIECES);
}

static bool sparse_damage(char *detail)
{
	if (pwrite(fd, "x", 1, 3 * STRIDE + PAGE) != 1)
		return fail_errno(detail, "pwrite");
	return true;
}

WITNESS = {
	.name = "sparse-file",
	.kind = "memory",
	.holds = "a file with holes",
	.damages = "fills a hole",
	.order = ORDER_MAIN,
	.arm = sparse_arm,
	.check = sparse_check,
	.damage = sparse_damage,
};
