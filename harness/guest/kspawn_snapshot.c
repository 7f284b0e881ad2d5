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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot_device.h"

#define ROLE		"resuming"

#define STUB_BASE	0x100000UL	/* where restore_image() jumps to */
#define ENTRIES		512UL		/* of a page table, and PFNs a page */
#define MAX_GIB		512UL		/* what one PDPT maps */
#define LINE		64UL		/* unit of the list of zero memory */

#define PTE_TABLE	0x3UL		/* present, writable */
#define PTE_LARGE	0x83UL		/* and a 2 MiB page */

/*
 * The entry: where restore_image() goes when all pages are in their places.
 * It is at an address that is mapped onto itself both in the page tables that
 * it comes with and in its own, which are in %r9: arch_hibernation_header_restore()
 * takes that for the CR3 of the image kernel. From here on nothing of the kernel
 * that loaded the image is needed any more, so that memory that has to be zero
 * can be cleared even where that kernel was. Then to the jump back entry, as
 * from kexec: with a zero on the stack, which says that there is no way back.
 * By ret, which needs no endbr64 where it goes to.
 */
__asm__(
"	.pushsection .rodata\n"
"	.balign	16\n"
"stub_begin:\n"
"	.byte	0xf3, 0x0f, 0x1e, 0xfa\n"	/* endbr64 */
"	mov	%r9, %cr3\n"
"	mov	%cr4, %rax\n"		/* CR4.PGE off and on: global pages go */
"	mov	%rax, %rcx\n"
"	and	$~0x80, %rcx\n"
"	mov	%rcx, %cr4\n"
"	mov	%rax, %cr4\n"
"	mov	stub_list(%rip), %rsi\n"
"	xor	%eax, %eax\n"
"1:	mov	(%rsi), %rdi\n"
"	mov	8(%rsi), %rcx\n"
"	add	$16, %rsi\n"
"	test	%rcx, %rcx\n"
"	jz	3f\n"
"2:	mov	%rax, (%rdi)\n"		/* no rep stosq: see fill() */
"	mov	%rax, 8(%rdi)\n"
"	mov	%rax, 16(%rdi)\n"
"	mov	%rax, 24(%rdi)\n"
"	mov	%rax, 32(%rdi)\n"
"	mov	%rax, 40(%rdi)\n"
"	mov	%rax, 48(%rdi)\n"
"	mov	%rax, 56(%rdi)\n"
"	add	$64, %rdi\n"
"	dec	%rcx\n"
"	jnz	2b\n"
"	jmp	1b\n"
"3:	lea	stub_entry(%rip), %rsp\n"
"	ret\n"
"	.balign	8\n"
"stub_list:\n"
"	.quad	0\n"
"stub_entry:\n"
"	.quad	0\n"
"	.quad	0\n"
"stub_end:\n"
"	.popsection\n");

extern const u8 stub_begin[], stub_list[], stub_entry[], stub_end[];

/* The first page of the stream, as kernel/power/snapshot.c reads it. */
struct stream_header {
	/* arch/x86/power/hibernate.c, in the place of the kernel's version */
	u64 jump_address;
	u64 jump_address_phys;
	u64 cr3;
	u64 magic;
	u64 e820_checksum;
	u8 unused[360];
	/* struct swsusp_info from num_physpages on */
	u64 num_physpages;
	u64 cpus;
	u64 image_pages;
	u64 pages;
	u64 size;
	u8 rest[PAGE - 440];
};

_Static_assert(sizeof(struct stream_header) == PAGE, "one page");
_Static_assert(offsetof(struct stream_header, num_physpages) == 400, "layout");
_Static_assert(offsetof(struct stream_header, size) == 432, "layout");

#define STREAM_MAGIC	0x23456789abcdef02UL

struct resume {
	const char *disk;
	bool scribble;
	struct image *image;
	struct image_facts facts;
	bool five_levels;
	u8 *stub;		/* code, page tables, list */
	u64 stub_pages;
	u64 cr3;
	u64 pages;		/* of the image, with those of the stub */
	int fd;
};

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

static void identity_map(u64 *top, u64 gibs, bool five)
{
	u64 phys = STUB_BASE + PAGE, *table = top;

	/* Each level above the PDPT has one entry: the next page. */
	for (int level = five ? 5 : 4; level > 3; level--) {
		phys += PAGE;
		table[0] = phys | PTE_TABLE;
		table += ENTRIES;
	}
	for (u64 i = 0; i < gibs; i++)
		table[i] = (phys + (i + 1) * PAGE) | PTE_TABLE;
	table += ENTRIES;
	for (u64 i = 0; i < gibs * ENTRIES; i++)
		table[i] = i << 21 | PTE_LARGE;
}

static int make_stub(struct resume *r)
{
	const struct image_stats *stats = &r->facts.stats;
	u64 zero_runs = 0, top = 0, gibs, tables, bytes, *list;
	struct image_segment seg;
	struct ranges ram;
	bool fits = false;

	for (u32 i = 0; i < stats->segments; i++) {
		image_segment(r->image, i, &seg);
		zero_runs += seg.size > seg.stored;
		top = seg.phys + seg.size;
	}
	if (r->facts.entry >= top)
		top = r->facts.entry + PAGE;
	gibs = (top + (1UL << 30) - 1) >> 30;
	if (gibs > MAX_GIB)
		return fail("foreign", "RAM ends above %lu GiB", MAX_GIB);
	tables = (r->five_levels ? 3 : 2) + gibs;
	bytes = (1 + tables) * PAGE + (zero_runs + 1) * 2 * sizeof(*list);
	r->stub_pages = (bytes + PAGE - 1) / PAGE;
	bytes = r->stub_pages * PAGE;
	if (read_iomem("System RAM", &ram))
		return -1;
	for (u32 i = 0; i < ram.nr; i++)
		fits |= ram.r[i].start <= STUB_BASE &&
			STUB_BASE + bytes <= MIN(ram.r[i].end, SPAWNED_END);
	if (!fits)
		return fail("no-memory", "no %llu kB of RAM at 1 MiB for the entry",
			    (unsigned long long)bytes >> 10);
	r->stub = calloc(r->stub_pages, PAGE);
	if (!r->stub)
		return fail("no-memory", "no memory for the entry");

	memcpy(r->stub, stub_begin, stub_end - stub_begin);
	list = (u64 *)(r->stub + (stub_list - stub_begin));
	*list = STUB_BASE + (1 + tables) * PAGE;
	list = (u64 *)(r->stub + (stub_entry - stub_begin));
	*list = r->facts.entry;
	r->cr3 = STUB_BASE + PAGE;
	identity_map((u64 *)(r->stub + PAGE), gibs, r->five_levels);
	list = (u64 *)(r->stub + (1 + tables) * PAGE);
	for (u32 i = 0; i < stats->segments; i++) {
		image_segment(r->image, i, &seg);
		if (seg.size == seg.stored)
			continue;
		*list++ = seg.phys + seg.stored;
		*list++ = (seg.size - seg.stored) / LINE;
	}
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

/* ---- the header -------------------------------------------------------- */

static u32 e820_type(const char *name)
{
	static const struct {
		const char *name;
		u32 type;
	} types[] = {
		{ "System RAM", 1 },
		{ "Reserved", 2 },
		{ "ACPI Tables", 3 },
		{ "ACPI Non-volatile Storage", 4 },
		{ "Unusable memory", 5 },
		{ "Persistent Memory", 7 },
		{ "Persistent Memory (legacy)", 12 },
		{ "Soft Reserved", 0xefffffff },
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(name, types[i].name))
			return types[i].type;
	return 0;
}

static int firmware_text(u32 index, const char *key, char *text, size_t size)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/firmware/memmap/%u/%s", index, key);
	if (read_text(path, text, size))
		return -1;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

/* As compute_e820_crc32(): of the count and the packed entries. */
static int e820_checksum(u64 *sum)
{
	struct __attribute__((packed)) {
		u64 start;
		u64 size;
		u32 type;
	} entry;
	char text[64];
	u32 count = 0, crc;

	while (!firmware_text(count, "type", text, sizeof(text)))
		count++;
	if (!count)
		return fail("no-firmware-map", "/sys/firmware/memmap is not there");
	crc = crc32_update(0, &count, sizeof(count));
	for (u32 i = 0; i < count; i++) {
		if (firmware_text(i, "type", text, sizeof(text)))
			return -1;
		entry.type = e820_type(text);
		if (!entry.type)
			return fail("no-firmware-map", "memory of the type %s", text);
		if (firmware_text(i, "start", text, sizeof(text)))
			return -1;
		entry.start = strtoull(text, NULL, 16);
		if (firmware_text(i, "end", text, sizeof(text)))
			return -1;
		entry.size = strtoull(text, NULL, 16) + 1 - entry.start;
		crc = crc32_update(crc, &entry, sizeof(entry));
	}
	*sum = crc;
	return 0;
}

/* get_num_physpages(): the sum of what is present in the zones. */
static int physpages(u64 *pages)
{
	unsigned long long n;
	char line[256];
	FILE *f = fopen("/proc/zoneinfo", "re");

	*pages = 0;
	if (!f)
		return fail_errno("no-file", "/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " present %llu", &n) == 1)
			*pages += n;
	return fclose(f) ? fail_errno("no-file", "/proc/zoneinfo") : 0;
}

/* ---- the stream -------------------------------------------------------- */

static int put_header(struct resume *r)
{
	static struct stream_header h;

	h = (struct stream_header){
		.jump_address = STUB_BASE,
		.jump_address_phys = STUB_BASE,
		.cr3 = r->cr3,
		.magic = STREAM_MAGIC,
		.image_pages = r->pages,
		.pages = r->pages + (r->pages + ENTRIES - 1) / ENTRIES + 1,
	};
	h.size = h.pages * PAGE;
	if (e820_checksum(&h.e820_checksum) || physpages(&h.num_physpages))
		return -1;
	return snapshot_put(r->fd, &h);
}

struct frames {
	u64 frame[ENTRIES];
	u64 nr;
};

static int put_frame(struct resume *r, struct frames *f, u64 frame)
{
	f->frame[f->nr++] = frame;
	if (f->nr < ENTRIES)
		return 0;
	f->nr = 0;
	return snapshot_put(r->fd, f->frame);
}

static int put_frames(struct resume *r)
{
	static struct frames f;
	struct image_segment seg;

	for (u64 i = 0; i < r->stub_pages; i++)
		if (put_frame(r, &f, STUB_BASE / PAGE + i))
			return -1;
	for (u32 i = 0; i < r->facts.stats.segments; i++) {
		image_segment(r->image, i, &seg);
		for (u64 at = 0; at < seg.stored; at += PAGE)
			if (put_frame(r, &f, (seg.phys + at) / PAGE))
				return -1;
	}
	if (!f.nr)
		return 0;
	f.frame[f.nr] = ~0UL;	/* the end of the list */
	return snapshot_put(r->fd, f.frame);
}

static int put_data(void *context, u64 phys, const void *data, size_t len)
{
	const struct resume *r = context;
	const u8 *page = data;

	(void)phys;
	for (; len; len -= PAGE, page += PAGE)
		if (snapshot_put(r->fd, page))
			return -1;
	return 0;
}

static int put_stream(struct resume *r)
{
	return put_header(r) || put_frames(r) ||
	       put_data(r, STUB_BASE, r->stub, r->stub_pages * PAGE) ||
	       image_stored(r->image, put_data, r) ? -1 : 0;
}

/* ---- resuming ---------------------------------------------------------- */

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
	r->image = image_open(r->disk);
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

int cmd_resume_snapshot(int argc, char **argv)
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

/* Whether there is an image that could be resumed here; its header only. */
int cmd_find_image(int argc, char **argv)
{
	const char *disk = "/dev/vda", *port = NULL;
	struct image_facts facts;
	struct image *image;
	struct json js;
	int c;

	while ((c = getopt(argc, argv, "d:s:")) != -1) {
		if (c == 'd')
			disk = optarg;
		else if (c == 's')
			port = optarg;
		else
			return 2;
	}
	if (port ? status_open(port, true) : (status_to(STDOUT_FILENO), 0)) {
		fprintf(stderr, "kspawn: %s: %s\n", failure.status, failure.detail);
		return 1;
	}
	image = image_open(disk);
	if (!image) {
		status_failure("loader", "refused");
		return 1;
	}
	image_facts(image, &facts);
	js_begin(&js, "loader", "found");
	js_kernel(&js);
	js_str(&js, "image_release", facts.release);
	js_str(&js, "image_boot_id", facts.boot_id);
	js_num(&js, "entry", facts.entry);
	js_stats(&js, &facts.stats);
	js_emit(&js);
	return image_close(image) ? 1 : 0;
}
