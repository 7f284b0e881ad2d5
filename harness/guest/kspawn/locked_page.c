// SPDX-License-Identifier: GPL-2.0-only
/* The page that the handoff is in. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failure.h"
#include "handoff.h"
#include "locked_page.h"
#include "types.h"

static int pagemap_frame(const void *page, u64 *frame)
{
	u64 word;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return fail_errno("no-pagemap", "/proc/self/pagemap");
	n = pread(fd, &word, sizeof(word), (uintptr_t)page / PAGE * sizeof(word));
	if (close(fd))
		return fail_errno("no-pagemap", "close");
	if (n != sizeof(word) || !(word >> 63))
		return fail("no-pagemap", "a locked page is not present");
	*frame = word & ((1ULL << 55) - 1);
	return 0;
}

/* A locked page above 16 MiB: below, the spawned kernel would lie on it. */
struct handoff *handoff_page(u64 *phys)
{
	for (int tries = 0; tries < 8192; tries++) {
		u64 frame;
		void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
				  -1, 0);

		if (page == MAP_FAILED || mlock(page, PAGE)) {
			fail_errno("no-memory", "a page for the handoff");
			return NULL;
		}
		if (pagemap_frame(page, &frame))
			return NULL;
		*phys = frame * PAGE;
		/* A page below is kept, so that the next one is another. */
		if (*phys >= SPAWNED_END)
			return page;
	}
	fail("no-memory", "no page above 16 MiB for the handoff");
	return NULL;
}

/* mlock() does not keep compaction from moving a page. */
int check_place(const struct handoff *ho, u64 phys)
{
	u64 frame;

	if (pagemap_frame(ho, &frame))
		return -1;
	return frame * PAGE == phys ? 0 :
	       fail("moved", "the handoff was moved, try again");
}
