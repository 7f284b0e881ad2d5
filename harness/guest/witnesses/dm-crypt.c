// SPDX-License-Identifier: GPL-2.0-only
/* A dm-crypt device, by the device mapper's own calls: its key is in the kernel alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "files.h"
#include "janitor.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"
#include "zramdevice.h"

#define BYTES	(128 * 1024)

static struct zram below;
static int device = -1;
static char bytes[BYTES], stored[BYTES];

static struct request {
	struct dm_ioctl io;
	struct dm_target_spec spec;
	char parameters[512];
} request;

static bool ask(unsigned long command)
{
	int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), error;
	bool good = control >= 0 && !ioctl(control, command, &request);

	error = errno;
	if (control >= 0)
		close(control);
	errno = error;
	return good;
}

static void begin(void)
{
	memset(&request, 0, sizeof(request));
	request.io.version[0] = DM_VERSION_MAJOR;
	request.io.data_size = sizeof(request);
	request.io.data_start = offsetof(struct request, spec);
	snprintf(request.io.name, sizeof(request.io.name), "kspawn-zram%d",
		 below.number);
}

static void clean(void)
{
	begin();
	for (int i = 0; i < 100 && !ask(DM_DEV_REMOVE) && errno == EBUSY; i++)
		usleep(10000);
	zram_remove(&below);
}

static bool load(void)
{
	char key[129];

	begin();
	request.io.target_count = 1;
	request.spec.length = BYTES / 512;
	strcpy(request.spec.target_type, "crypt");
	for (int i = 0; i < 8; i++)
		snprintf(key + 16 * i, sizeof(key) - 16 * i, "%016llx",
			 (unsigned long long)value_of(salt("dm-crypt", i + 1)));
	snprintf(request.parameters, sizeof(request.parameters),
		 "aes-xts-plain64 %s 0 %s 0", key, below.path);
	return ask(DM_TABLE_LOAD);
}

static bool make(void)
{
	char path[32];

	begin();
	if (!ask(DM_DEV_CREATE) || !load())
		return false;
	begin();
	/* Without DM_SUSPEND_FLAG it is a resume: the table is in use now. */
	if (!ask(DM_DEV_SUSPEND))
		return false;
	snprintf(path, sizeof(path), "/dev/dm-%u", minor(request.io.dev));
	device = open(path, O_RDWR | O_CLOEXEC);
	return device >= 0;
}

static void dm_crypt_arm(void)
{
	if (!zram_add(&below, BYTES))
		return;
	janitor(clean);
	if (!make()) {
		not_here("no CONFIG_DM_CRYPT, or no right: %s",
			 strerror(errno));
		return;
	}
	fill(bytes, BYTES, salt("dm-crypt", 0), 0);
	if (pwrite(device, bytes, BYTES, 0) != BYTES || !forget_cached(device))
		die_errno("pwrite");
}

/* What lies below is not what was written. */
static bool is_encrypted(char *detail)
{
	int fd = open(below.path, O_RDONLY | O_CLOEXEC);
	bool good = fd >= 0 && !ioctl(fd, BLKFLSBUF, 0) &&
		    pread(fd, stored, BYTES, 0) == BYTES;

	if (fd >= 0)
		close(fd);
	if (!good)
		return fail_errno(detail, below.path);
	for (size_t i = 0; i < BYTES; i += PAGE)
		if (!memcmp(stored + i, bytes + i, PAGE))
			return fail(detail, "offset %zu is not encrypted", i);
	return true;
}

static bool dm_crypt_check(char *detail)
{
	struct difference diff = { 0 };

	if (!forget_cached(device))
		return fail_errno(detail, "BLKFLSBUF");
	if (pread(device, bytes, BYTES, 0) != BYTES)
		return fail_errno(detail, "pread");
	compare(&diff, bytes, BYTES, salt("dm-crypt", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the device", &diff);
	return is_encrypted(detail) &&
	       pass(detail, "%d KiB by aes-xts-plain64", BYTES / 1024);
}

static bool dm_crypt_damage(char *detail)
{
	if (!flip_byte(detail, device, 70001))
		return false;
	return forget_cached(device) || fail_errno(detail, "BLKFLSBUF");
}

WITNESS = {
	.name = "dm-crypt",
	.kind = "files",
	.holds = "an encrypted device, and its key in the kernel",
	.damages = "flips a bit of it",
	.order = ORDER_CHILDREN,
	.systemwide = true,
	.arm = dm_crypt_arm,
	.check = dm_crypt_check,
	.damage = dm_crypt_damage,
};
