// SPDX-License-Identifier: GPL-2.0-only
/* A loop device whose file has no name: what it is set to, and what is on it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

#define BYTES	(256 * 1024)
#define NAME	"kspawn-loop"

static int device = -1;

static bool configure(int control)
{
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };
	int number = ioctl(control, LOOP_CTL_GET_FREE), file;
	char path[64];

	snprintf(path, sizeof(path), "/dev/loop%d", number);
	device = open(path, O_RDWR | O_CLOEXEC);
	if (number < 0 || device < 0)
		return false;
	file = memfd_create(NAME, MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, BYTES))
		die_errno("memfd_create");
	memcpy(info.lo_file_name, NAME, sizeof(NAME));
	if (ioctl(device, LOOP_SET_FD, file))
		return false;
	/* By LO_FLAGS_AUTOCLEAR it is free again when the witness has ended. */
	if (ioctl(device, LOOP_SET_STATUS64, &info)) {
		ioctl(device, LOOP_CLR_FD);
		return false;
	}
	close(file);
	return true;
}

static void loop_device_arm(void)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	static char bytes[BYTES];

	if (control < 0 || !configure(control))
		not_here("no CONFIG_BLK_DEV_LOOP, or no right: %s",
			 strerror(errno));
	if (control >= 0)
		close(control);
	if (control < 0 || device < 0)
		return;
	fill(bytes, BYTES, salt("loop-device", 0), 0);
	if (pwrite(device, bytes, BYTES, 0) != BYTES)
		not_here("it cannot be written: %s", strerror(errno));
}

static bool loop_device_check(char *detail)
{
	struct difference diff = { 0 };
	static char bytes[BYTES];
	struct loop_info64 info;

	if (ioctl(device, LOOP_GET_STATUS64, &info))
		return fail_errno(detail, "LOOP_GET_STATUS64");
	if (strcmp((char *)info.lo_file_name, NAME) || info.lo_offset ||
	    !(info.lo_flags & LO_FLAGS_AUTOCLEAR))
		return fail(detail, "file %.64s, offset %llu, flags 0x%x",
			    info.lo_file_name,
			    (unsigned long long)info.lo_offset, info.lo_flags);
	if (pread(device, bytes, BYTES, 0) != BYTES)
		return fail_errno(detail, "pread");
	compare(&diff, bytes, BYTES, salt("loop-device", 0), 0);
	if (diff.differ)
		return fail_difference(detail, "the device", &diff);
	return pass(detail, "%d KiB on loop%u", BYTES / 1024, info.lo_number);
}

static bool loop_device_damage(char *detail)
{
	return flip_byte(detail, device, 70001);
}

WITNESS = {
	.name = "loop-device",
	.kind = "files",
	.holds = "a loop device on a file without a name",
	.damages = "flips a bit of it",
	.order = ORDER_MAIN,
	.arm = loop_device_arm,
	.check = loop_device_check,
	.damage = loop_device_damage,
};
