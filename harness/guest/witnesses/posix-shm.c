// SPDX-License-Identifier: GPL-2.0-only
/* POSIX shared memory: a name, and two mappings of which one is read-only. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(32 * PAGE)

static char name[40];
static int fd = -1;
static char *writable, *readonly;

static void posix_shm_arm(void)
{
	snprintf(name, sizeof(name), "/witness-%016llx",
		 (unsigned long long)nonce);
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 && errno == ENOENT) {
		not_here("no /dev/shm");
		return;
	}
	if (fd < 0 || ftruncate(fd, BYTES))
		die_errno(name);
	writable = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	readonly = mmap(NULL, BYTES, PROT_READ, MAP_SHARED, fd, 0);
	if (writable == MAP_FAILED || readonly == MAP_FAILED)
		die_errno("mmap");
	fill(writable, BYTES, salt("posix-shm", 0), 0);
}

static bool posix_shm_check(char *detail)
{
	struct difference diff = { 0 };
	struct stat st, named;
	int again = shm_open(name, O_RDONLY, 0);

	if (again < 0)
		return fail_errno(detail, name);
	if (fstat(again, &named) || close(again) || fstat(fd, &st))
		return fail_errno(detail, "fstat");
	if (st.st_ino != named.st_ino || st.st_size != BYTES)
		return fail(detail, "its name is another one's");
	compare(&diff, readonly, BYTES, salt("posix-shm", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "mapped read-only", &diff);
	return pass(detail, "%lu bytes, mapped twice", BYTES);
}

static bool posix_shm_damage(char *detail)
{
	(void)detail;
	writable[BYTES - 5] ^= 1;
	return true;
}

static void posix_shm_end(void)
{
	if (fd >= 0)
		shm_unlink(name);
}

WITNESS = {
	.name = "posix-shm",
	.kind = "memory",
	.holds = "POSIX shared memory, mapped twice",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = posix_shm_arm,
	.check = posix_shm_check,
	.damage = posix_shm_damage,
	.end = posix_shm_end,
};
