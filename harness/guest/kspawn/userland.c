// SPDX-License-Identifier: GPL-2.0-only
/*
 * The normal userland, for a kernel that was booted into 0-16 MiB.
 *
 * No initramfs of that size fits there, and one that the boot loader puts above
 * is lost to what restores an image. So the archive is on a disk, and is read
 * once there is memory for it: cpio's "newc" format, see
 * Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "failure.h"
#include "types.h"
#include "userland.h"

#define ROOT		"/root"
#define HEADER		110	/* magic of 6 characters, 13 numbers of 8 */
#define MAX_NAME	256
#define TRAILER		"TRAILER!!!"

struct entry {
	u32 mode;
	u32 size;
	u32 major;
	u32 minor;
	char path[sizeof(ROOT) + 1 + MAX_NAME];
};

static int take(FILE *archive, void *data, size_t len)
{
	return fread(data, 1, len, archive) == len ? 0 :
	       fail("no-userland", "the archive ends early");
}

/* What follows a name and a content is aligned to 4 bytes. */
static int skip_padding(FILE *archive, size_t len)
{
	char rest[4];

	return take(archive, rest, -len & 3);
}

static u32 number(const char *header, int index)
{
	char digits[9] = "";

	memcpy(digits, header + 6 + 8 * index, 8);
	return strtoul(digits, NULL, 16);
}

/* Returns 1 for an entry, 0 at the end. */
static int read_entry(FILE *archive, struct entry *e)
{
	char header[HEADER], name[MAX_NAME];
	u32 len;

	if (take(archive, header, sizeof(header)))
		return -1;
	if (memcmp(header, "070701", 6))
		return fail("no-userland", "the disk holds no cpio archive");
	e->mode = number(header, 1);
	e->size = number(header, 6);
	e->major = number(header, 9);
	e->minor = number(header, 10);
	len = number(header, 11);
	if (!len || len > sizeof(name))
		return fail("no-userland", "a name of %u bytes", len);
	if (take(archive, name, len) || skip_padding(archive, HEADER + len))
		return -1;
	name[len - 1] = 0;
	snprintf(e->path, sizeof(e->path), ROOT "/%s", name);
	return strcmp(name, TRAILER) != 0;
}

static int copy_file(FILE *archive, const struct entry *e)
{
	static char block[65536];
	FILE *file = fopen(e->path, "we");
	u32 left = e->size;
	int err = 0;

	if (!file)
		return fail_errno("no-userland", e->path);
	while (!err && left) {
		size_t len = MIN(left, sizeof(block));

		err = take(archive, block, len);
		if (!err && fwrite(block, 1, len, file) != len)
			err = fail_errno("no-userland", e->path);
		left -= len;
	}
	if (fclose(file) && !err)
		err = fail_errno("no-userland", e->path);
	return err;
}

static int make_link(FILE *archive, const struct entry *e)
{
	char target[MAX_NAME];

	if (e->size >= sizeof(target))
		return fail("no-userland", "%s is a link of %u bytes", e->path,
			    e->size);
	if (take(archive, target, e->size))
		return -1;
	target[e->size] = 0;
	return symlink(target, e->path) ? fail_errno("no-userland", e->path) : 0;
}

static int make_entry(FILE *archive, const struct entry *e)
{
	int err;

	if (S_ISLNK(e->mode))
		return make_link(archive, e) || skip_padding(archive, e->size);
	if (S_ISREG(e->mode))
		err = copy_file(archive, e) || skip_padding(archive, e->size);
	else if (S_ISDIR(e->mode))
		err = mkdir(e->path, 0700) && errno != EEXIST;
	else
		err = mknod(e->path, e->mode, makedev(e->major, e->minor));
	if (!err && chmod(e->path, e->mode & 07777))
		err = -1;
	if (err && !failure.status[0])
		fail_errno("no-userland", e->path);
	return err;
}

/* Returns 0 once the whole of one archive was unpacked. */
static int unpack_one(FILE *archive, u32 *files)
{
	struct entry e;
	int more;

	while ((more = read_entry(archive, &e)) > 0) {
		if (make_entry(archive, &e))
			return -1;
		++*files;
	}
	return more;
}

/* One may follow the other, with zeros between: as in init/initramfs.c. */
static bool another(FILE *archive)
{
	int c;

	do {
		c = getc(archive);
	} while (!c);
	return c != EOF && ungetc(c, archive) == c;
}

static int unpack(const char *disk, u32 *files)
{
	FILE *archive = fopen(disk, "re");
	int err;

	if (!archive)
		return fail_errno("no-userland", disk);
	/* What failed before was the image; this is about the archive. */
	memset(&failure, 0, sizeof(failure));
	*files = 0;
	do {
		err = unpack_one(archive, files);
	} while (!err && another(archive));
	if (!err && ferror(archive))
		err = fail_errno("no-userland", disk);
	if (fclose(archive) && !err)
		return fail_errno("no-userland", disk);
	return err;
}

/*
 * Unpacks the archive on @disk into a new root filesystem. It is not the one
 * that is there: that was sized by the memory of the boot.
 */
int userland_unpack(const char *disk, u32 *files)
{
	if (mkdir(ROOT, 0755) && errno != EEXIST)
		return fail_errno("no-userland", ROOT);
	if (mount("tmpfs", ROOT, "tmpfs", 0, "mode=755"))
		return fail_errno("no-userland", "mount of a tmpfs");
	return unpack(disk, files);
}

/* Goes on as the init of what was unpacked; returns only if it cannot. */
int userland_enter(void)
{
	static const char *const ours[] = { "/dev", "/sys", "/proc" };
	char *const argv[] = { "/init", NULL };
	char *const envp[] = { "HOME=/", "TERM=linux", NULL };

	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (umount2(ours[i], MNT_DETACH))
			return fail_errno("no-userland", ours[i]);
	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		return fail_errno("no-userland", "the new root");
	execve(argv[0], argv, envp);
	return fail_errno("no-userland", argv[0]);
}
