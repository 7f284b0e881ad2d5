// SPDX-License-Identifier: GPL-2.0-only
/* Anonymous memory that is swapped out, to an area of its own and just as large. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "janitor.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"
#include "zramdevice.h"

#define PAGES	64
#define BYTES	(PAGES * PAGE)
/* Documentation/admin-guide/mm/pagemap.rst */
#define SWAPPED	(1ULL << 62)
/* include/linux/swap.h: union swap_header. */
#define INFO	1024
#define MAGIC	"SWAPSPACE2"

static struct zram zram;
static char *area;

static void clean(void)
{
	/* It fails where arming did not come so far. */
	(void)!swapoff(zram.path);
	zram_remove(&zram);
}

/* All of it belongs to the area: nobody else's pages find room there. */
static void make_swap(void)
{
	static char header[PAGE];
	uint32_t info[] = { 1, PAGES, 0 };	/* version, last page, bad ones */
	int fd = open(zram.path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die_errno(zram.path);
	memcpy(header + INFO, info, sizeof(info));
	memcpy(header + PAGE - strlen(MAGIC), MAGIC, strlen(MAGIC));
	if (pwrite(fd, header, PAGE, 0) != PAGE || fsync(fd) || close(fd))
		die_errno(zram.path);
}

static bool count_swapped(size_t *swapped)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entries[PAGES];
	ssize_t n;

	*swapped = 0;
	if (fd < 0)
		return false;
	n = pread(fd, entries, sizeof(entries),
		  (uintptr_t)area / PAGE * sizeof(*entries));
	close(fd);
	for (size_t i = 0; n == sizeof(entries) && i < PAGES; i++)
		*swapped += !!(entries[i] & SWAPPED);
	return n == sizeof(entries);
}

/* The kernel may have a page in a list of a CPU, which is drained as it goes on. */
static bool swap_out(size_t *swapped)
{
	for (int i = 0; i < 50; i++) {
		if (madvise(area, BYTES, MADV_PAGEOUT) ||
		    !count_swapped(swapped))
			return false;
		if (*swapped == PAGES)
			break;
		usleep(20000);
	}
	return true;
}

static void swapped_out_arm(void)
{
	size_t swapped;

	if (!zram_add(&zram, BYTES + PAGE))
		return;
	janitor(clean);
	make_swap();
	if (swapon(zram.path, 0)) {
		not_here("swapon: %s", strerror(errno));
		return;
	}
	area = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die_errno("mmap");
	fill(area, BYTES, salt("swapped-out", 0), 0);
	if (!swap_out(&swapped))
		die_errno("MADV_PAGEOUT");
	if (swapped != PAGES)
		die("%zu of %d pages are swapped out", swapped, PAGES);
}

static bool swapped_out_check(char *detail)
{
	struct difference diff = { 0 };
	size_t swapped, again;

	if (!count_swapped(&swapped))
		return fail_errno(detail, "/proc/self/pagemap");
	compare(&diff, area, BYTES, salt("swapped-out", 0), 0);
	if (!swap_out(&again))
		return fail_errno(detail, "MADV_PAGEOUT");
	if (diff.differ)
		return fail_difference(detail, "the memory", &diff);
	if (swapped != PAGES)
		return fail(detail, "%zu of %d pages were swapped out", swapped,
			    PAGES);
	return pass(detail, "%d pages on %s", PAGES, zram.path);
}

static bool swapped_out_damage(char *detail)
{
	size_t swapped;

	area[17 * PAGE + 8] ^= 4;
	return swap_out(&swapped) || fail_errno(detail, "MADV_PAGEOUT");
}

WITNESS = {
	.name = "swapped-out",
	.kind = "memory",
	.holds = "memory that is swapped out, on a zram device of its own",
	.damages = "flips a bit of it",
	.order = ORDER_CHILDREN,
	.systemwide = true,
	.arm = swapped_out_arm,
	.check = swapped_out_check,
	.damage = swapped_out_damage,
};
