// SPDX-License-Identifier: GPL-2.0-only
/* Protection keys: PKRU of a task forbids what the page table allows. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"
#include "xstate.h"

static struct helper helper;

#define DISABLE_ACCESS	1
#define MARK		0x6b737061

static uint32_t *region;
static int key = -1, ends[2];

static void pkeys_prepare(struct helper_page *page)
{
	region = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		die_errno("mmap");
	*region = MARK;
	key = syscall(SYS_pkey_alloc, 0, DISABLE_ACCESS);
	if (key < 0) {
		not_here("no protection keys in this CPU or kernel: %s",
			 strerror(errno));
		return;
	}
	if (syscall(SYS_pkey_mprotect, region, PAGE, PROT_READ | PROT_WRITE, key))
		die_errno("pkey_mprotect");
	page->value[0] = read_pkru();
}

static bool pkeys_serve(struct helper_page *page, int what, char *detail)
{
	uint32_t pkru = read_pkru(), word = 0;

	if (what == HELPER_DAMAGE) {
		write_pkru(pkru & ~(3U << 2 * key));
		return true;
	}
	if (pkru != page->value[0])
		return fail(detail, "PKRU 0x%08x instead of 0x%08llx", pkru,
			    (unsigned long long)page->value[0]);
	/* The kernel reads it as the task would. */
	if (write(ends[1], region, 4) != -1 || errno != EFAULT)
		return fail(detail, "page %p can be read, PKRU 0x%08x",
			    (void *)region, pkru);
	write_pkru(pkru & ~(3U << 2 * key));
	word = *region;
	write_pkru(pkru);
	if (word != MARK)
		return fail(detail, "page %p: 0x%x instead of 0x%x",
			    (void *)region, word, MARK);
	return pass(detail, "key %d, PKRU 0x%08x", key, pkru);
}

static void pkeys_arm(void)
{
	helper_start(&helper, pkeys_prepare, pkeys_serve);
}

static bool pkeys_check(char *detail)
{
	return helper_ask(detail, &helper, HELPER_CHECK);
}

static bool pkeys_damage(char *detail)
{
	return helper_ask(detail, &helper, HELPER_DAMAGE);
}

WITNESS = {
	.name = "pkeys",
	.kind = "memory",
	.holds = "a page under a protection key that forbids it",
	.damages = "allows it",
	.order = ORDER_CHILDREN,
	.arm = pkeys_arm,
	.check = pkeys_check,
	.damage = pkeys_damage,
};
