// SPDX-License-Identifier: GPL-2.0-only
/* A lock that belongs to an open file, which another open file runs into; a lease. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "helper.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

static int holder, rival, leased;

static struct flock range(short type)
{
	return (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = 4096,
		.l_len = 1000,
	};
}

static void ofd_arm(void)
{
	struct flock lock = range(F_WRLCK);

	holder = create_file("ofd");
	rival = open_file("ofd");
	unlink_file("ofd");
	if (fcntl(holder, F_OFD_SETLK, &lock)) {
		not_here("F_OFD_SETLK: %s", strerror(errno));
		return;
	}
	leased = create_file("leased");
	unlink_file("leased");
	if (fcntl(leased, F_SETLEASE, F_WRLCK))
		not_here("F_SETLEASE: %s", strerror(errno));
}

static bool ofd_check(char *detail)
{
	struct flock lock = range(F_RDLCK);

	if (fcntl(rival, F_OFD_GETLK, &lock))
		return fail_errno(detail, "F_OFD_GETLK");
	if (lock.l_type != F_WRLCK || lock.l_start != 4096 ||
	    lock.l_len != 1000 || lock.l_pid != -1)
		return fail(detail, "type %d, start %lld, length %lld, process %d",
			    lock.l_type, (long long)lock.l_start,
			    (long long)lock.l_len, (int)lock.l_pid);
	if (fcntl(leased, F_GETLEASE) != F_WRLCK)
		return fail(detail, "the lease is %d instead of %d",
			    fcntl(leased, F_GETLEASE), F_WRLCK);
	return pass(detail, "a lock and a lease");
}

static bool ofd_damage(char *detail)
{
	struct flock lock = range(F_UNLCK);

	if (fcntl(holder, F_OFD_SETLK, &lock))
		return fail_errno(detail, "F_OFD_SETLK");
	return true;
}

WITNESS = {
	.name = "ofd-lock",
	.kind = "files",
	.holds = "a lock of an open file, and a lease",
	.damages = "releases the lock",
	.order = ORDER_MAIN,
	.arm = ofd_arm,
	.check = ofd_check,
	.damage = ofd_damage,
};
