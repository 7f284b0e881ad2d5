// SPDX-License-Identifier: GPL-2.0-only
/* Anonymous memory. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anonymous-memory.h"
#include "options.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static uint64_t *memory;
static unsigned int pattern_salt;

size_t anonymous_pages(void)
{
	return options.mebibytes * MEBIBYTE / PAGE;
}

void *anonymous_page(size_t page)
{
	return memory + page * (PAGE / 8);
}

/*
 * The first word of a page can be recognised in an image: "KW", 24 bits of the
 * nonce, and the number of the page.
 */
static uint64_t memory_word(size_t i)
{
	size_t page = i / (PAGE / 8);

	if (i % (PAGE / 8))
		return mix(nonce, ((uint64_t)pattern_salt << 40) + i);
	return 0x4b57ULL << 48 | (nonce & 0xffffff) << 24 | page;
}

static void anonymous_arm(void)
{
	size_t words = options.mebibytes * MEBIBYTE / 8;

	pattern_salt = salt("anonymous-memory", 0);
	/* All pages at once: a fault for each takes longer than the pattern. */
	memory = mmap(NULL, words * 8, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		die_errno("mmap");
	for (size_t i = 0; i < words; i++)
		memory[i] = memory_word(i);
}

static bool anonymous_check(char *detail)
{
	size_t pages = anonymous_pages(), bad = 0, first = 0;
	uint64_t is = 0;

	for (size_t page = 0; page < pages; page++) {
		bool differs = false;

		for (size_t j = 0; j < PAGE / 8 && !differs; j++) {
			size_t i = page * (PAGE / 8) + j;
			uint64_t word = memory[i];

			if (word == memory_word(i))
				continue;
			differs = true;
			if (!bad++) {
				first = i;
				is = word;
			}
		}
	}
	if (bad)
		return fail(detail,
			    "page %zu word %zu: 0x%016llx instead of 0x%016llx, %zu of %zu pages differ",
			    first / (PAGE / 8), first % (PAGE / 8),
			    (unsigned long long)is,
			    (unsigned long long)memory_word(first), bad, pages);
	return pass(detail, "%zu pages", pages);
}

/* Which page frame holds a page; only root is told. */
bool page_frame(size_t page, uint64_t *pfn)
{
	uint64_t entry;
	off_t offset = (uintptr_t)anonymous_page(page) / PAGE * sizeof(entry);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = pread(fd, &entry, sizeof(entry), offset);
	if (close(fd) || n != sizeof(entry))
		return false;
	*pfn = entry & ((1ULL << 55) - 1);
	return entry >> 63 && *pfn;
}

static bool anonymous_damage(char *detail)
{
	(void)detail;
	memory[17 * (PAGE / 8) + 3] ^= 1ULL << 42;
	return true;
}

WITNESS = {
	.name = "anonymous-memory",
	.kind = "memory",
	.holds = "patterned anonymous memory",
	.damages = "flips a bit of one page",
	.order = ORDER_MAIN,
	.arm = anonymous_arm,
	.check = anonymous_check,
	.damage = anonymous_damage,
};
