// SPDX-License-Identifier: GPL-2.0-only
/*
 * uswsusp: hibernation in user space, through /dev/snapshot alone: freeze,
 * create, write to the swap area, power off (or reset); and back. The baseline
 * that is hibernated by a program, as swsusp is the one that the kernel
 * hibernates. The interface is that of Documentation/power/userland-swsusp.rst.
 *
 * On the disk, in pages of the swap area: the stream of /dev/snapshot as it is
 * read, and maps that list its pages. Where the first map is stands in the boot
 * block of the swap header, which mkswap(8) leaves alone; while there is an
 * image, the signature of the header is ours, so that nobody swaps onto it.
 */
#define _GNU_SOURCE	/* O_DIRECT */
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "clock.h"
#include "crc32.h"
#include "failure.h"
#include "snapshot_device.h"
#include "status.h"

#define AREA_MAGIC	"KSPAWNUS"
#define SWAP_SIGNATURE	"SWAPSPACE2"
#define OUR_SIGNATURE	"KSPAWN-USW"
#define SIGNATURE_LEN	10
#define SIGNATURE_AT	(PAGE - SIGNATURE_LEN)
#define PER_MAP		511UL		/* pages that a map lists */
#define BATCH		64UL		/* pages that are written at once */

/* At the beginning of the swap area. */
struct area {
	char magic[8];
	u64 pages;		/* of the stream */
	u64 map;		/* where the first map is, in bytes */
	u32 crc;		/* of the stream */
	u32 self;		/* CRC-32 of what is above */
};

struct map {
	u64 at[PER_MAP];	/* where the pages are, in bytes */
	u64 next;		/* the next map, or 0 */
};

_Static_assert(sizeof(struct map) == PAGE, "one page");
_Static_assert(sizeof(struct area) <= 1024, "the boot block of a swap area");

struct job {
	const char *disk;
	int disk_fd;
	int fd;			/* of /dev/snapshot */
	bool reset;		/* when saved: reset, do not power off */
	u8 *header;		/* the first page of the swap area */
	u8 *data;		/* BATCH pages */
	struct map *map;
	u64 at[BATCH];		/* where the pages of the batch go */
	u64 batch;
	u64 pages;
	u32 crc;
};

/* Before user space is frozen; memory for O_DIRECT is aligned to a page. */
static int job_open(struct job *job, int mode)
{
	u8 *memory = mmap(NULL, (BATCH + 2) * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED || mlockall(MCL_CURRENT | MCL_FUTURE))
		return fail_errno("no-memory", "memory for a batch");
	job->data = memory;
	job->header = memory + BATCH * PAGE;
	job->map = (struct map *)(memory + (BATCH + 1) * PAGE);
	/* O_DIRECT: the page cache would take memory from the image. */
	job->disk_fd = open(job->disk, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (job->disk_fd < 0)
		return fail_errno("no-disk", job->disk);
	job->fd = open(SNAPSHOT_DEVICE, mode | O_CLOEXEC);
	if (job->fd < 0)
		return fail_errno("no-snapshot-device", SNAPSHOT_DEVICE);
	return 0;
}

static int read_disk(struct job *job, void *data, u64 len, u64 at)
{
	ssize_t n = pread(job->disk_fd, data, len, at);

	if (n < 0)
		return fail_errno("disk-error", job->disk);
	if ((u64)n != len)
		return fail("truncated", "%s ends at %llu", job->disk,
			    (unsigned long long)at + n);
	return 0;
}

static int write_disk(struct job *job, const void *data, u64 len, u64 at)
{
	ssize_t n = pwrite(job->disk_fd, data, len, at);

	if (n < 0)
		return fail_errno("disk-error", job->disk);
	if ((u64)n != len)
		return fail("disk-error", "%s took %zd of %llu bytes", job->disk,
			    n, (unsigned long long)len);
	return 0;
}

/* ---- saving ------------------------------------------------------------ */

static int set_swap_area(struct job *job)
{
	struct resume_swap_area area = { 0 };
	struct stat st;

	if (fstat(job->disk_fd, &st))
		return fail_errno("no-disk", job->disk);
	/* As new_encode_dev() of the kernel has it. */
	area.dev = (minor(st.st_rdev) & 0xff) | major(st.st_rdev) << 8 |
		   (minor(st.st_rdev) & ~0xffU) << 12;
	if (ioctl(job->fd, SNAPSHOT_SET_SWAP_AREA, &area))
		return fail_errno("no-swap", "SNAPSHOT_SET_SWAP_AREA");
	return 0;
}

static int swap_page(struct job *job, u64 *at)
{
	__kernel_loff_t offset;

	if (ioctl(job->fd, SNAPSHOT_ALLOC_SWAP_PAGE, &offset))
		return fail_errno(errno == ENOSPC ? "no-space" : "no-swap",
				  "SNAPSHOT_ALLOC_SWAP_PAGE");
	*at = offset;
	return 0;
}

/* Pages that are neighbours on the disk go there in one piece. */
static int write_batch(struct job *job)
{
	for (u64 i = 0, n; i < job->batch; i += n) {
		for (n = 1; i + n < job->batch; n++)
			if (job->at[i + n] != job->at[i] + n * PAGE)
				break;
		if (write_disk(job, job->data + i * PAGE, n * PAGE, job->at[i]))
			return -1;
	}
	job->batch = 0;
	return 0;
}

static int write_map(struct job *job, u64 *map_at, bool last)
{
	u64 next = 0;

	if (!last && swap_page(job, &next))
		return -1;
	job->map->next = next;
	if (write_disk(job, job->map, PAGE, *map_at))
		return -1;
	memset(job->map, 0, PAGE);
	*map_at = next;
	return 0;
}

/* A page of the stream into the batch; 1 at the end of the stream. */
static int take_page(struct job *job)
{
	u8 *page = job->data + job->batch * PAGE;
	ssize_t n = read(job->fd, page, PAGE);

	if (n < 0)
		return fail_errno("no-image", "read from " SNAPSHOT_DEVICE);
	if (!n)
		return 1;
	if (n != (ssize_t)PAGE)
		return fail("no-image", SNAPSHOT_DEVICE " gave %zd bytes of a page", n);
	if (swap_page(job, &job->at[job->batch]))
		return -1;
	job->crc = crc32_update(job->crc, page, PAGE);
	job->map->at[job->pages % PER_MAP] = job->at[job->batch];
	job->batch++;
	job->pages++;
	return 0;
}

static int write_stream(struct job *job, u64 *first_map)
{
	u64 map_at;
	int end;

	if (swap_page(job, &map_at))
		return -1;
	*first_map = map_at;
	while (!(end = take_page(job))) {
		if (job->batch == BATCH && write_batch(job))
			return -1;
		if (job->pages % PER_MAP == 0 && write_map(job, &map_at, false))
			return -1;
	}
	return end < 0 || write_batch(job) || write_map(job, &map_at, true) ? -1 : 0;
}

/* Only now there is an image: all of it is on the disk. */
static int write_area(struct job *job, u64 first_map)
{
	struct area *area = (struct area *)job->header;

	if (read_disk(job, job->header, PAGE, 0))
		return -1;
	if (memcmp(job->header + SIGNATURE_AT, SWAP_SIGNATURE, SIGNATURE_LEN))
		return fail("no-swap", "%s is no swap area", job->disk);
	memcpy(area->magic, AREA_MAGIC, sizeof(area->magic));
	area->pages = job->pages;
	area->map = first_map;
	area->crc = job->crc;
	area->self = crc32_update(0, area, offsetof(struct area, self));
	memcpy(job->header + SIGNATURE_AT, OUR_SIGNATURE, SIGNATURE_LEN);
	if (fsync(job->disk_fd))
		return fail_errno("disk-error", "fsync");
	if (write_disk(job, job->header, PAGE, 0))
		return -1;
	return fsync(job->disk_fd) ? fail_errno("disk-error", "fsync") : 0;
}

/* Does not come back if all went well. */
static int write_and_switch_off(struct job *job, u64 created_ms)
{
	u64 started = monotonic_ms(), first_map;
	struct json js;

	if (write_stream(job, &first_map) || write_area(job, first_map))
		return -1;
	js_begin(&js, "normal", "saved");
	js_num(&js, "stored_bytes", job->pages * PAGE);
	js_num(&js, "create_ms", created_ms);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	reboot(job->reset ? RB_AUTOBOOT : RB_POWER_OFF);
	return fail_errno("no-power-off", "reboot");
}

static void report_back(void)
{
	struct json js;

	js_begin(&js, "normal", "back");
	js_str(&js, "command", "uswsusp");
	js_str(&js, "outcome", "image");
	js_emit(&js);
}

/* Returns twice, so to say: in the kernel of the image it comes back good. */
static int save(struct job *job)
{
	u64 started = monotonic_ms();
	int in_suspend, err = 0;

	if (job_open(job, O_RDONLY) || set_swap_area(job))
		return -1;
	if (ioctl(job->fd, SNAPSHOT_FREEZE, 0))
		return fail_errno("no-freeze", "SNAPSHOT_FREEZE");
	if (ioctl(job->fd, SNAPSHOT_CREATE_IMAGE, &in_suspend))
		err = fail_errno(errno == ENOMEM ? "no-memory" : "no-image",
				 "SNAPSHOT_CREATE_IMAGE");
	else if (in_suspend)
		err = write_and_switch_off(job, monotonic_ms() - started);
	/* What was created is freed before the rest of user space goes on. */
	if (ioctl(job->fd, SNAPSHOT_FREE, 0) && !err)
		err = fail_errno("frozen", "SNAPSHOT_FREE");
	if (ioctl(job->fd, SNAPSHOT_FREE_SWAP_PAGES, 0) && !err)
		err = fail_errno("frozen", "SNAPSHOT_FREE_SWAP_PAGES");
	if (ioctl(job->fd, SNAPSHOT_UNFREEZE, 0) && !err)
		err = fail_errno("frozen", "SNAPSHOT_UNFREEZE");
	if (close(job->fd) && !err)
		err = fail_errno("frozen", SNAPSHOT_DEVICE);
	return err;
}

/* ---- resuming ---------------------------------------------------------- */

static int read_area(struct job *job)
{
	const struct area *area = (struct area *)job->header;

	if (read_disk(job, job->header, PAGE, 0))
		return -1;
	if (memcmp(job->header + SIGNATURE_AT, OUR_SIGNATURE, SIGNATURE_LEN) ||
	    memcmp(area->magic, AREA_MAGIC, sizeof(area->magic)))
		return fail("absent", "no image on %s", job->disk);
	if (area->self != crc32_update(0, area, offsetof(struct area, self)))
		return fail("damaged", "the checksum of the header does not match");
	return 0;
}

static int put_batch(struct job *job)
{
	for (u64 i = 0, n; i < job->batch; i += n) {
		for (n = 1; i + n < job->batch; n++)
			if (job->at[i + n] != job->at[i] + n * PAGE)
				break;
		if (read_disk(job, job->data + i * PAGE, n * PAGE, job->at[i]))
			return -1;
	}
	for (u64 i = 0; i < job->batch; i++) {
		job->crc = crc32_update(job->crc, job->data + i * PAGE, PAGE);
		if (snapshot_put(job->fd, job->data + i * PAGE))
			return -1;
	}
	job->batch = 0;
	return 0;
}

static int put_stream(struct job *job)
{
	const struct area *area = (struct area *)job->header;
	u64 map_at = area->map;

	for (job->pages = 0; job->pages < area->pages; job->pages++) {
		u64 index = job->pages % PER_MAP;

		if (!index) {
			if (!map_at || read_disk(job, job->map, PAGE, map_at))
				return map_at ? -1 : fail("damaged", "a map is missing");
			map_at = job->map->next;
		}
		job->at[job->batch++] = job->map->at[index];
		if (job->batch == BATCH && put_batch(job))
			return -1;
	}
	if (put_batch(job))
		return -1;
	if (job->crc != area->crc)
		return fail("damaged", "the checksum of the image does not match");
	return 0;
}

/* Before the jump: an image is resumed once, and the kernel in it swaps there. */
static int give_area_back(struct job *job)
{
	memset(job->header, 0, sizeof(struct area));
	memcpy(job->header + SIGNATURE_AT, SWAP_SIGNATURE, SIGNATURE_LEN);
	if (write_disk(job, job->header, PAGE, 0))
		return -1;
	return fsync(job->disk_fd) ? fail_errno("disk-error", "fsync") : 0;
}

static void report_restored(const struct job *job, u64 started)
{
	struct json js;

	js_begin(&js, "resuming", "restored");
	js_num(&js, "stored_bytes", job->pages * PAGE);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
}

/* Only comes back if it did not work. */
static int resume(struct job *job)
{
	u64 started = monotonic_ms();
	int err;

	if (job_open(job, O_WRONLY) || read_area(job) || put_stream(job))
		return -1;
	if (ioctl(job->fd, SNAPSHOT_FREEZE, 0))
		return fail_errno("no-freeze", "SNAPSHOT_FREEZE");
	err = give_area_back(job);
	if (!err) {
		report_restored(job, started);
		ioctl(job->fd, SNAPSHOT_ATOMIC_RESTORE, 0);
		err = fail_errno("no-restore", "SNAPSHOT_ATOMIC_RESTORE");
	}
	if (ioctl(job->fd, SNAPSHOT_UNFREEZE, 0))
		return fail_errno("frozen", "SNAPSHOT_UNFREEZE");
	return err;
}

static int usage(void)
{
	fprintf(stderr, "usage: uswsusp save|resume [-r] [-d DISK] [-s STATUS]\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct job job = { .disk = "/dev/vda", .disk_fd = -1, .fd = -1 };
	const char *port = "/dev/ttyS1";
	bool saves = argc > 1 && !strcmp(argv[1], "save");
	int c;

	if (!saves && (argc < 2 || strcmp(argv[1], "resume")))
		return usage();
	argc--;
	argv++;
	while ((c = getopt(argc, argv, "rd:s:")) != -1) {
		if (c == 'd')
			job.disk = optarg;
		else if (c == 's')
			port = optarg;
		else if (c == 'r')
			job.reset = true;
		else
			return usage();
	}
	if (status_open(port, true)) {
		fprintf(stderr, "uswsusp: %s: %s\n", failure.status, failure.detail);
		return 1;
	}
	if (!(saves ? save(&job) : resume(&job))) {
		report_back();
		return 0;
	}
	status_failure(saves ? "normal" : "resuming", "refused");
	fprintf(stderr, "uswsusp: %s: %s\n", failure.status, failure.detail);
	return 1;
}
