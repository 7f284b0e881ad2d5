// SPDX-License-Identifier: GPL-2.0-only
/* A file in tmpfs, which is read and mapped. */
#define _GNU_SOURCE
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define FILE_BYTES	(8 * MEBIBYTE)

static int file_fd = -1;
static char *file_map;

static void file_arm(void)
{
	file_fd = create_file("data");
	write_pattern(file_fd, FILE_BYTES, salt("tmpfs-file", 0));
	file_map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			file_fd, 0);
	if (file_map == MAP_FAILED)
		die_errno("mmap");
}

static bool file_check(char *detail)
{
	struct difference diff = { 0 };
	struct stat st, named;
	char path[PATH_MAX];

	if (!check_file(detail, file_fd, FILE_BYTES, salt("tmpfs-file", 0)))
		return false;
	compare(&diff, file_map, FILE_BYTES, salt("tmpfs-file", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "mapped", &diff);
	file_name(path, "data");
	if (stat(path, &named))
		return fail_errno(detail, "stat of the path");
	if (fstat(file_fd, &st))
		return fail_errno(detail, "fstat");
	if (st.st_dev != named.st_dev || st.st_ino != named.st_ino)
		return fail(detail, "its path is now another file");
	return pass(detail, "8 MiB, read and mapped");
}

static bool file_damage(char *detail)
{
	return damage_file(detail, file_fd, 5 * MEBIBYTE + 77);
}

static void remove_files(void)
{
	char path[PATH_MAX];

	if (file_fd < 0)
		return;
	file_name(path, "data");
	unlink(path);
}

WITNESS = {
	.name = "tmpfs-file",
	.kind = "memory",
	.holds = "a file in tmpfs, open and mapped",
	.damages = "flips a bit of the file",
	.order = ORDER_MAIN,
	.arm = file_arm,
	.check = file_check,
	.damage = file_damage,
	.end = remove_files,
};
