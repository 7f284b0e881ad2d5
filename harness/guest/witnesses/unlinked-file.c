// SPDX-License-Identifier: GPL-2.0-only
/* A file that is open and has no name any more. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define UNLINKED_BYTES	200000
#define UNLINKED_OFFSET	123457

static int unlinked_fd;

static void unlinked_arm(void)
{
	unlinked_fd = create_file("unlinked");
	unlink_file("unlinked");
	write_pattern(unlinked_fd, UNLINKED_BYTES, salt("unlinked-file", 0));
	if (lseek(unlinked_fd, UNLINKED_OFFSET, SEEK_SET) < 0)
		die_errno("lseek");
}

static bool unlinked_check(char *detail)
{
	off_t offset = lseek(unlinked_fd, 0, SEEK_CUR);
	struct stat st;

	if (offset < 0)
		return fail_errno(detail, "lseek");
	if (offset != UNLINKED_OFFSET)
		return fail(detail, "at offset %lld instead of %d",
			    (long long)offset, UNLINKED_OFFSET);
	if (fstat(unlinked_fd, &st))
		return fail_errno(detail, "fstat");
	if (st.st_nlink)
		return fail(detail, "it has %lu links instead of 0",
			    (unsigned long)st.st_nlink);
	if (!check_file(detail, unlinked_fd, UNLINKED_BYTES, salt("unlinked-file", 0)))
		return false;
	return pass(detail, "%d bytes, at offset %d", UNLINKED_BYTES,
		    UNLINKED_OFFSET);
}

static bool unlinked_damage(char *detail)
{
	if (lseek(unlinked_fd, 1, SEEK_CUR) < 0)
		return fail_errno(detail, "lseek");
	return true;
}

WITNESS = {
	.name = "unlinked-file",
	.kind = "files",
	.holds = "a file without a name, and its offset",
	.damages = "moves the offset",
	.order = ORDER_MAIN,
	.arm = unlinked_arm,
	.check = unlinked_check,
	.damage = unlinked_damage,
};
