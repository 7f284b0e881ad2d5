// SPDX-License-Identifier: GPL-2.0-only
/*
 * Physical memory through mmap(2) of /dev/mem.
 *
 * write(2) to /dev/mem refuses addresses above high_memory, which in a kernel
 * restricted to 0-16 MiB is all that matters; mmap(2) does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failure.h"
#include "memory_map.h"
#include "physical.h"
#include "ranges.h"
#include "types.h"

/* A window, because the page tables of a mapping come out of 0-16 MiB. */
#define WINDOW	(4UL << 20)

static int mem_fd = -1;
static u8 *window;
static u64 window_start;
static size_t window_len;

int phys_open(void)
{
	if (mem_fd >= 0)
		return 0;
	mem_fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	return mem_fd < 0 ? fail_errno("no-dev-mem", "/dev/mem") : 0;
}

/* Tried and not read from a config: what the running kernel does counts. */
const char *dev_mem_state(void)
{
	const char *state = "open";
	struct ranges ram;
	void *page;
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? "absent" : "unreadable";
	if (read_iomem("System RAM", &ram) || !ram.nr) {
		state = "unknown";
	} else {
		page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd,
			    ram.r[ram.nr - 1].start);
		/* STRICT_DEVMEM says EPERM to what is "System RAM". */
		if (page == MAP_FAILED)
			state = errno == EPERM ? "strict" : "unreadable";
		else if (munmap(page, PAGE))
			state = "unknown";
	}
	return close(fd) ? "unknown" : state;
}

static int move_window(u64 start, size_t len)
{
	if (phys_open())
		return -1;
	if (window && munmap(window, window_len))
		return fail_errno("no-dev-mem", "munmap");
	window = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd,
		      start);
	if (window == MAP_FAILED) {
		window = NULL;
		return fail("no-dev-mem", "mmap of /dev/mem at %#llx: %s",
			    (unsigned long long)start, strerror(errno));
	}
	window_start = start;
	window_len = len;
	return 0;
}

/**
 * phys_map() - make physical memory readable and writable
 * @phys: the address
 * @len: in: how much is wanted; out: how much there is in one piece
 *
 * The mapping stays valid until the next call for another window.
 */
void *phys_map(u64 phys, size_t *len)
{
	u64 start = phys & ~(WINDOW - 1);

	if ((!window || phys < window_start ||
	     phys >= window_start + window_len) &&
	    move_window(start, WINDOW))
		return NULL;
	*len = MIN(*len, window_start + window_len - phys);
	return window + (phys - window_start);
}

/**
 * phys_map_only() - make whole pages readable and writable, and no others
 * @phys: the address of the first
 * @len: in: how much is wanted; out: how much there is in one piece
 *
 * An emulated CPU takes longer to map a page and to unmap it than to copy it.
 */
void *phys_map_only(u64 phys, size_t *len)
{
	*len = MIN(*len, WINDOW);
	return move_window(phys, *len) ? NULL : window;
}

int phys_read(u64 phys, void *buf, size_t len)
{
	for (u8 *to = buf; len;) {
		size_t n = len;
		void *from = phys_map(phys, &n);

		if (!from)
			return -1;
		memcpy(to, from, n);
		to += n;
		phys += n;
		len -= n;
	}
	return 0;
}

int phys_write(u64 phys, const void *buf, size_t len)
{
	for (const u8 *from = buf; len;) {
		size_t n = len;
		void *to = phys_map(phys, &n);

		if (!to)
			return -1;
		memcpy(to, from, n);
		from += n;
		phys += n;
		len -= n;
	}
	return 0;
}
