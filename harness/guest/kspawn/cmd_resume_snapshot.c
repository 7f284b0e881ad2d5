// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resuming through /dev/snapshot: the hibernation image of a kexec jump, turned
 * into the stream that swsusp takes, in a kernel with all its memory.
 * docs/resume-snapshot.md describes it.
 */
#define _GNU_SOURCE	/* memmem() */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "commands.h"
#include "failure.h"
#include "files.h"
#include "image.h"
#include "image_stats.h"
#include "snapshot_device.h"
#include "snapshot_resume.h"
#include "snapshot_stream.h"
#include "snapshot_stub.h"
#include "status.h"
#include "this_kernel.h"
#include "types.h"

/* CR4.LA57 cannot change while paging is on: both kernels must agree. */
static int check_depth(const struct resume *r)
{
	static const char key[] = "NUMBER(pgtable_l5_enabled)=";
	const char *text = r->facts.vmcoreinfo, *at;

	if (!text)
		return 0;	/* the image does not tell */
	at = memmem(text, r->facts.vmcoreinfo_len, key, sizeof(key) - 1);
	if (!at || at + sizeof(key) > text + r->facts.vmcoreinfo_len)
		return 0;
	if ((at[sizeof(key) - 1] == '1') != r->five_levels)
		return fail("foreign", "the image is of a kernel with %d levels of page tables, this one has %d",
			    r->five_levels ? 4 : 5, r->five_levels ? 5 : 4);
	return 0;
}

/* All data waits in free memory until the atomic restore, besides the lists. */
static int check_memory(const struct resume *r)
{
	u64 need = r->pages + r->pages / 128 + (16UL << 20) / PAGE;
	u64 free_pages;

	/* The kernel allocates them without reclaiming anything. */
	if (meminfo_kb("MemFree:") / (PAGE >> 10) < need) {
		int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

		sync();
		if (fd >= 0 && write(fd, "3", 1) != 1)
			fail_errno("no-memory", "drop_caches");
		if (fd >= 0)
			close(fd);
	}
	free_pages = meminfo_kb("MemFree:") / (PAGE >> 10);
	if (free_pages < need)
		return fail("no-memory", "the image needs %llu kB of free memory, there are %llu kB",
			    (unsigned long long)need << 2,
			    (unsigned long long)free_pages << 2);
	return 0;
}

/*
 * For tests: free memory of a new machine is zero, and hides what is forgotten.
 * Some is left, or else the kernel ends us for it.
 */
static int scribble_free(void)
{
	u64 kb = meminfo_kb("MemFree:"), left = (24 << 10) + kb / 16;
	size_t len = kb > left ? (kb - left) << 10 : 0;
	u64 *mem;

	if (!len)
		return 0;
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return fail_errno("no-memory", "mmap");
	for (size_t i = 0; i < len / sizeof(*mem); i++) {
		mem[i] = 0xa5a5a5a5a5a5a5a5UL;
		/* Else the compiler makes a memset of it: see fill(). */
		__asm__ volatile("" : : : "memory");
	}
	return munmap(mem, len) ? fail_errno("no-memory", "munmap") : 0;
}

static void report_restored(const struct resume *r, u64 started)
{
	struct json js;

	js_begin(&js, ROLE, "restored");
	js_stats(&js, &r->facts.stats);
	js_str(&js, "by", "/dev/snapshot");
	js_num(&js, "pages", r->pages);
	js_num(&js, "stub_pages", r->stub_pages);
	js_num(&js, "levels", r->five_levels ? 5 : 4);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
}

/* Only comes back if it did not work; all is as it was then. */
static void freeze_and_restore(const struct resume *r, u64 started)
{
	if (ioctl(r->fd, SNAPSHOT_FREEZE, 0)) {
		fail_errno("no-freeze", "SNAPSHOT_FREEZE");
		return;
	}
	if (!image_invalidate(r->disk)) {
		report_restored(r, started);
		ioctl(r->fd, SNAPSHOT_ATOMIC_RESTORE, 0);
		fail_errno("no-restore", "SNAPSHOT_ATOMIC_RESTORE");
	}
	/* Closing it would thaw as well; but not to know is worse. */
	if (ioctl(r->fd, SNAPSHOT_UNFREEZE, 0))
		fail_errno("frozen", "SNAPSHOT_UNFREEZE");
}

static int prepare(struct resume *r)
{
	if (has_five_levels(&r->five_levels))
		return -1;
	r->image = image_open(r->disk, NULL);
	if (!r->image)
		return -1;
	image_facts(r->image, &r->facts);
	if (check_depth(r) || make_stub(r))
		return -1;
	r->pages = r->stub_pages + r->facts.stats.stored_bytes / PAGE;
	if (check_memory(r) || (r->scribble && scribble_free()))
		return -1;
	r->fd = open(SNAPSHOT_DEVICE, O_WRONLY | O_CLOEXEC);
	if (r->fd < 0)
		return fail_errno("no-snapshot-device", SNAPSHOT_DEVICE);
	return put_stream(r);
}

static const char *resume(struct resume *r)
{
	u64 started = monotonic_ms();
	const char *event = "refused";

	status(ROLE, "restoring");
	if (!prepare(r)) {
		freeze_and_restore(r, started);
		event = "error";
	}
	/* What was loaded is freed with the file. */
	if (r->fd >= 0)
		close(r->fd);
	if (r->image)
		image_close(r->image);
	free(r->stub);
	return event;
}

static int run(int argc, char **argv)
{
	struct resume r = { .disk = "/dev/vda", .fd = -1 };
	const char *port = "/dev/ttyS1";
	struct json js;
	int c, wstatus = 0;
	pid_t pid;

	while ((c = getopt(argc, argv, "d:s:p")) != -1) {
		if (c == 'd')
			r.disk = optarg;
		else if (c == 's')
			port = optarg;
		else if (c == 'p')
			r.scribble = true;
		else
			return 2;
	}
	if (status_open(port, true)) {
		fprintf(stderr, "kspawn: %s: %s\n", failure.status, failure.detail);
		return 1;
	}
	js_begin(&js, ROLE, "init");
	js_kernel(&js);
	js_emit(&js);
	/* In a child: should it be killed, there is somebody left to say so. */
	pid = fork();
	if (!pid) {
		status_failure(ROLE, resume(&r));
		fprintf(stderr, "kspawn: %s: %s\n", failure.status, failure.detail);
		_exit(1);
	}
	if (pid < 0) {
		fail_errno("no-memory", "fork");
		status_failure(ROLE, "refused");
		return 1;
	}
	while (waitpid(pid, &wstatus, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(wstatus)) {
		fail("killed", "by signal %d", WTERMSIG(wstatus));
		status_failure(ROLE, "error");
	}
	return 1;
}

const struct command cmd_resume_snapshot = {
	.name = "resume-snapshot",
	.arguments = "[-d DISK] [-s STATUS] [-p]",
	.run = run,
};
