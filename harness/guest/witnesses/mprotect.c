// SPDX-License-Identifier: GPL-2.0-only
/* A page of each protection; the kernel is asked to read and to write them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "helper.h"
#include "launcher.h"
#include "report.h"
#include "types.h"
#include "witness.h"

/* mov $0x5eed, %eax; ret */
static const uint8_t code[] = { 0xb8, 0xed, 0x5e, 0x00, 0x00, 0xc3 };

static const int rights[] = {
	PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
};

static char *pages;
static int zero_fd, null_fds[2];

static bool may_read(const char *page)
{
	char c;

	return write(null_fds[1], page, 1) == 1 &&
	       read(null_fds[0], &c, 1) == 1;
}

/* Writes one byte of zero, where there is one. */
static bool may_write(char *page)
{
	return pread(zero_fd, page + PAGE - 1, 1, 0) == 1;
}

static void mprotect_arm(void)
{
	size_t count = ARRAY_SIZE(rights);

	pages = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (pages == MAP_FAILED || zero_fd < 0 ||
	    pipe2(null_fds, O_CLOEXEC | O_NONBLOCK))
		die_errno("mmap");
	for (size_t i = 0; i < count; i++) {
		memcpy(pages + i * PAGE, code, sizeof(code));
		if (mprotect(pages + i * PAGE, PAGE, rights[i]))
			die_errno("mprotect");
	}
}

static bool mprotect_check(char *detail)
{
	int (*run)(void);

	for (size_t i = 0; i < ARRAY_SIZE(rights); i++) {
		if (may_read(pages + i * PAGE) != !!(rights[i] & PROT_READ))
			return fail(detail, "page %zu: wrong right to read", i);
		if (may_write(pages + i * PAGE) != !!(rights[i] & PROT_WRITE))
			return fail(detail, "page %zu: wrong right to write", i);
	}
	run = (int (*)(void))(pages + 3 * PAGE);
	if (run() != 0x5eed)
		return fail(detail, "the code returns 0x%x", run());
	return pass(detail, "%zu protections, code that runs",
		    ARRAY_SIZE(rights));
}

static bool mprotect_damage(char *detail)
{
	if (mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE))
		return fail_errno(detail, "mprotect");
	return true;
}

WITNESS = {
	.name = "mprotect",
	.kind = "memory",
	.holds = "pages of each protection, one with code",
	.damages = "makes a read-only page writable",
	.order = ORDER_MAIN,
	.arm = mprotect_arm,
	.check = mprotect_check,
	.damage = mprotect_damage,
};
