// SPDX-License-Identifier: GPL-2.0-only
/* A memfd that is sealed against all but further seals. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define BYTES	70000
#define SEALS	(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int memfd;

static void memfd_arm(void)
{
	memfd = memfd_create("witness", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		die_errno("memfd_create");
	write_pattern(memfd, BYTES, salt("memfd-seals", 0));
	if (fcntl(memfd, F_ADD_SEALS, SEALS))
		die_errno("F_ADD_SEALS");
}

static bool memfd_check(char *detail)
{
	int seals = fcntl(memfd, F_GET_SEALS);

	if (seals != SEALS)
		return fail(detail, "seals 0x%x instead of 0x%x", seals, SEALS);
	if (pwrite(memfd, "", 1, 0) != -1 || errno != EPERM)
		return fail(detail, "it can be written");
	if (!check_file(detail, memfd, BYTES, salt("memfd-seals", 0)))
		return false;
	return pass(detail, "%d bytes, seals 0x%x", BYTES, seals);
}

static bool memfd_damage(char *detail)
{
	if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL))
		return fail_errno(detail, "F_ADD_SEALS");
	return true;
}

WITNESS = {
	.name = "memfd-seals",
	.kind = "memory",
	.holds = "a memfd, its content and its seals",
	.damages = "adds a seal",
	.order = ORDER_MAIN,
	.arm = memfd_arm,
	.check = memfd_check,
	.damage = memfd_damage,
};
