// SPDX-License-Identifier: GPL-2.0-only
/* Saving: the data first, then the header, its first block last. */
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backup.h"
#include "chunk_sum.h"
#include "crc32.h"
#include "disk.h"
#include "disk_thread.h"
#include "failure.h"
#include "handoff.h"
#include "image_format.h"
#include "image_rules.h"
#include "image_save.h"
#include "image_stats.h"
#include "physical.h"
#include "ranges.h"
#include "types.h"
#include "vmcoreinfo.h"

/* A shorter run of pages of one byte is stored: a segment costs 56 bytes. */
#define MIN_FILLED_RUN	8
/* A shorter gap is mapped with what is around it. */
#define MIN_GAP		32

struct segment {
	u64 phys;
	u32 stored;	/* pages */
	u32 filled;	/* pages that follow them, each byte of them the same: */
	u8 value;
};

struct saver {
	const struct save_job *job;
	int fd;
	u64 disk_bytes;
	struct disk_thread *thread;
	u8 *unit;		/* the thread's buffer that is being filled */
	size_t fill;
	u32 *sums;
	u32 nr_sums;
	u32 max_sums;
	struct segment *segs;
	u32 nr_segs;
	u32 max_segs;
	u64 stored_pages;
	u64 free_pages;
};

static int flush_unit(struct saver *s)
{
	u64 offset = DATA_OFFSET + s->nr_sums * CHUNK;
	size_t len = (s->fill + BLOCK - 1) & ~(BLOCK - 1);

	if (!s->fill)
		return 0;
	if (offset + len > s->disk_bytes)
		return fail("no-space",
			    "the image needs more than the %llu bytes of %s",
			    (unsigned long long)s->disk_bytes, s->job->disk);
	for (size_t at = 0; at < s->fill; at += CHUNK) {
		if (s->nr_sums == s->max_sums)
			return fail("no-memory", "too many chunks");
		s->sums[s->nr_sums++] = chunk_sum(FORMAT_VERSION, s->unit + at,
						  MIN(s->fill - at, CHUNK));
	}
	if (disk_thread_write(s->thread, len, offset))
		return -1;
	s->unit = disk_thread_buffer(s->thread);
	s->fill = 0;
	return 0;
}

static int store_page(struct saver *s, const void *page, u8 value)
{
	if (page)
		memcpy(s->unit + s->fill, page, PAGE);
	else
		memset(s->unit + s->fill, value, PAGE);
	s->fill += PAGE;
	s->stored_pages++;
	return s->fill == UNIT ? flush_unit(s) : 0;
}

/* Free pages of a kernel that clears or poisons them, for the most part. */
static bool page_of_one_byte(const void *page)
{
	const u64 *p = page;
	u64 word = *p;

	if (word != (word << 8 | word >> 56))
		return false;
	for (size_t i = 0; i < PAGE / sizeof(*p); i += 8)
		if ((p[i] ^ word) | (p[i + 1] ^ word) |
		    (p[i + 2] ^ word) | (p[i + 3] ^ word) |
		    (p[i + 4] ^ word) | (p[i + 5] ^ word) |
		    (p[i + 6] ^ word) | (p[i + 7] ^ word))
			return false;
	return true;
}

static int new_segment(struct saver *s, u64 phys)
{
	if (s->nr_segs == s->max_segs) {
		u32 max = s->max_segs ? 2 * s->max_segs : 1024;
		struct segment *segs = realloc(s->segs, max * sizeof(*segs));

		if (!segs)
			return fail("no-memory", "no room for %u segments", max);
		s->segs = segs;
		s->max_segs = max;
	}
	s->segs[s->nr_segs++] = (struct segment){ .phys = phys };
	return 0;
}

static bool may_skip(const struct saver *s, u64 frame)
{
	const u8 *skip = s->job->skip;

	return skip && frame < s->job->skip_frames &&
	       (skip[frame / 8] >> (frame % 8) & 1);
}

/* The pages of one byte that a segment ends with, stored after all. */
static int store_filled(struct saver *s, struct segment *seg)
{
	for (; seg->filled; seg->filled--, seg->stored++)
		if (store_page(s, NULL, seg->value))
			return -1;
	seg->value = 0;
	return 0;
}

/*
 * A segment is a run of stored pages and a run of pages of one byte after it; a
 * free page ends it. Nearly out of segments, pages are stored instead.
 */
static int save_page(struct saver *s, u64 phys, const void *page)
{
	bool tight = s->nr_segs >= MAX_SEGMENTS - 2;
	struct segment *seg = s->nr_segs ? &s->segs[s->nr_segs - 1] : NULL;
	bool joins = seg && seg->phys + (seg->stored + seg->filled) * PAGE == phys;
	u8 value = *(const u8 *)page;
	bool filled;

	if (may_skip(s, phys / PAGE) && !(tight && joins)) {
		s->free_pages++;
		return 0;
	}
	filled = page_of_one_byte(page);
	if (joins && seg->filled && !(filled && seg->value == value)) {
		if (seg->filled < MIN_FILLED_RUN || tight) {
			if (store_filled(s, seg))
				return -1;
		} else {
			joins = false;
		}
	}
	if (!joins) {
		if (s->nr_segs >= MAX_SEGMENTS)
			return fail("no-memory", "too many segments");
		if (new_segment(s, phys))
			return -1;
		seg = &s->segs[s->nr_segs - 1];
	}
	if (filled) {
		seg->value = value;
		seg->filled++;
		return 0;
	}
	seg->stored++;
	return store_page(s, page, 0);
}

/* Passes over what is not stored: it need not be mapped either. */
static u64 leave_free(struct saver *s, u64 phys, u64 end)
{
	u64 at = phys;

	if (s->nr_segs < MAX_SEGMENTS - 2)
		while (at < end && may_skip(s, at / PAGE))
			at += PAGE;
	s->free_pages += (at - phys) / PAGE;
	return at;
}

/* How much to map at once: up to a gap of what is not stored. */
static size_t run_bytes(const struct saver *s, u64 phys, u64 end)
{
	u64 run = phys + PAGE;

	for (u64 at = run; at < end && at - run < MIN_GAP * PAGE; at += PAGE)
		if (!may_skip(s, at / PAGE))
			run = at + PAGE;
	return run - phys;
}

static int save_range(struct saver *s, const struct range *range)
{
	u64 phys = leave_free(s, range->start, range->end);

	while (phys < range->end) {
		size_t len = run_bytes(s, phys, range->end);
		const u8 *mem = phys_map_only(phys, &len);

		if (!mem)
			return -1;
		for (size_t at = 0; at < len; at += PAGE)
			if (save_page(s, phys + at, mem + at))
				return -1;
		phys = leave_free(s, phys + len, range->end);
	}
	return 0;
}

/* The header area is written as a stream, its first block last. */
struct header {
	int fd;
	u8 *first;
	u8 *block;
	u64 at;
	u32 crc;
};

static int header_put(struct header *h, const void *data, size_t len)
{
	const u8 *p = data;

	h->crc = crc32_update(h->crc, data, len);
	while (len) {
		size_t in = h->at % BLOCK;
		size_t n = MIN(len, BLOCK - in);
		u8 *block = h->at < BLOCK ? h->first : h->block;

		if (h->at + n > DATA_OFFSET)
			return fail("no-memory", "the header area is full");
		memcpy(block + in, p, n);
		p += n;
		len -= n;
		h->at += n;
		if (h->at % BLOCK == 0 && block == h->block) {
			if (disk_write(h->fd, block, BLOCK, h->at - BLOCK))
				return -1;
			memset(block, 0, BLOCK);
		}
	}
	return 0;
}

static int note_head(struct header *h, const char *name, u32 type, u32 size)
{
	char padded[16] = "";
	Elf64_Nhdr nhdr = {
		.n_namesz = strlen(name) + 1,
		.n_descsz = size,
		.n_type = type,
	};

	memcpy(padded, name, nhdr.n_namesz);
	return header_put(h, &nhdr, sizeof(nhdr)) ||
	       header_put(h, padded, pad4(nhdr.n_namesz)) ? -1 : 0;
}

static int put_note(struct header *h, const char *name, u32 type,
		    const void *desc, u32 size)
{
	static const char zeros[4];

	return note_head(h, name, type, size) || header_put(h, desc, size) ||
	       header_put(h, zeros, pad4(size) - size) ? -1 : 0;
}

static size_t note_bytes(const char *name, size_t size)
{
	return sizeof(Elf64_Nhdr) + pad4(strlen(name) + 1) + pad4(size);
}

static int put_segments(struct header *h, const struct saver *s)
{
	u64 offset = DATA_OFFSET;

	for (u32 i = 0; i < s->nr_segs; i++) {
		const struct segment *seg = &s->segs[i];
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W | PF_X |
				   (u32)seg->value << FILL_SHIFT,
			.p_offset = offset,
			.p_paddr = seg->phys,
			.p_filesz = seg->stored * PAGE,
			.p_memsz = (seg->stored + (u64)seg->filled) * PAGE,
			.p_align = PAGE,
		};

		offset += phdr.p_filesz;
		if (header_put(h, &phdr, sizeof(phdr)))
			return -1;
	}
	return 0;
}

static u64 filled_pages(const struct saver *s)
{
	u64 sum = 0;

	for (u32 i = 0; i < s->nr_segs; i++)
		sum += s->segs[i].filled;
	return sum;
}

static struct info make_info(const struct saver *s)
{
	const struct handoff *ho = s->job->handoff;
	struct info info = {
		.version = FORMAT_VERSION,
		.page_bytes = PAGE,
		.entry = s->job->entry,
		.data_offset = DATA_OFFSET,
		.stored_bytes = s->stored_pages * PAGE,
		.zero_bytes = filled_pages(s) * PAGE,
		.free_bytes = s->free_pages * PAGE,
		.chunk_bytes = CHUNK,
		.chunks = s->nr_sums,
		.handoff = s->job->handoff_phys,
		.memfree_pages = ho->memfree_pages,
		.places = places_begin(s->job->entry),
	};

	for (u32 i = 0; i < s->nr_segs; i++) {
		const struct segment *seg = &s->segs[i];

		info.places = places_add(info.places, seg->phys,
					 seg->stored * PAGE,
					 (seg->stored + (u64)seg->filled) * PAGE);
	}
	memcpy(info.release, ho->release, sizeof(info.release));
	memcpy(info.boot_id, ho->boot_id, sizeof(info.boot_id));
	ranges_above(&ho->ram, SPAWNED_END, &info.ram);
	info.firmware = ho->firmware;
	backup_ranges(&info.backup);
	return info;
}

static int put_notes(struct header *h, const struct saver *s,
		     const char *vmcoreinfo, size_t vm_size)
{
	struct info info = make_info(s);
	u32 seal;

	if (vm_size && put_note(h, "VMCOREINFO", 0, vmcoreinfo, vm_size))
		return -1;
	if (put_note(h, NOTE_NAME, NT_KSPAWN_INFO, &info, sizeof(info)) ||
	    put_note(h, NOTE_NAME, NT_KSPAWN_SUMS, s->sums,
		     s->nr_sums * sizeof(u32)) ||
	    note_head(h, NOTE_NAME, NT_KSPAWN_SEAL, sizeof(seal)))
		return -1;
	seal = h->crc;	/* of all before it */
	return header_put(h, &seal, sizeof(seal));
}

static int put_header(struct header *h, const struct saver *s,
		      const char *vmcoreinfo, size_t vm_size)
{
	u64 phdrs_end = sizeof(Elf64_Ehdr) + (s->nr_segs + 1) * sizeof(Elf64_Phdr);
	Elf64_Ehdr ehdr = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			     ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(ehdr),
		.e_ehsize = sizeof(ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = s->nr_segs + 1,
	};
	Elf64_Phdr notes = { .p_type = PT_NOTE, .p_offset = phdrs_end, .p_align = 4 };

	if (vm_size)
		notes.p_filesz += note_bytes("VMCOREINFO", vm_size);
	notes.p_filesz += note_bytes(NOTE_NAME, sizeof(struct info));
	notes.p_filesz += note_bytes(NOTE_NAME, s->nr_sums * sizeof(u32));
	notes.p_filesz += note_bytes(NOTE_NAME, sizeof(u32));
	if (header_put(h, &ehdr, sizeof(ehdr)) ||
	    header_put(h, &notes, sizeof(notes)) || put_segments(h, s))
		return -1;
	return put_notes(h, s, vmcoreinfo, vm_size);
}

static int write_header(struct saver *s)
{
	char *vmcoreinfo = malloc(MAX_VMCOREINFO);
	u8 *blocks = disk_memory(2 * BLOCK);
	struct header h = { .fd = s->fd, .first = blocks, .block = blocks + BLOCK };
	int err = -1;

	if (!vmcoreinfo || !blocks) {
		fail("no-memory", "no memory for the header");
		goto out;
	}
	if (put_header(&h, s, vmcoreinfo,
		       read_vmcoreinfo(s->job->handoff, vmcoreinfo)))
		goto out;
	if (h.at % BLOCK && h.at > BLOCK &&
	    disk_write(s->fd, h.block, BLOCK, h.at / BLOCK * BLOCK))
		goto out;
	/* Only now, with all else on the disk, does it become an image. */
	if (fsync(s->fd)) {
		fail_errno("disk-error", "fsync of the image");
		goto out;
	}
	if (disk_write(s->fd, h.first, BLOCK, 0))
		goto out;
	if (fsync(s->fd)) {
		fail_errno("disk-error", "fsync of the header");
		goto out;
	}
	err = 0;
out:
	free(vmcoreinfo);
	if (blocks && munmap(blocks, 2 * BLOCK))
		err = fail_errno("no-memory", "munmap");
	return err;
}

static int clear_header(int fd)
{
	u8 *block = disk_memory(BLOCK);
	int err;

	if (!block)
		return -1;
	err = disk_write(fd, block, BLOCK, 0);
	if (!err && fsync(fd))
		err = fail_errno("disk-error", "fsync");
	if (munmap(block, BLOCK))
		err = fail_errno("no-memory", "munmap");
	return err;
}

static int save_all(struct saver *s)
{
	struct ranges ram;
	off_t end = lseek(s->fd, 0, SEEK_END);

	if (end < 0)
		return fail_errno("disk-error", s->job->disk);
	s->disk_bytes = end;
	if (s->disk_bytes <= DATA_OFFSET)
		return fail("no-space", "%s has %llu bytes only", s->job->disk,
			    (unsigned long long)s->disk_bytes);
	if (clear_header(s->fd))
		return -1;
	ranges_above(&s->job->handoff->ram, SPAWNED_END, &ram);
	s->max_sums = ranges_bytes(&ram) / CHUNK + 1;
	s->sums = calloc(s->max_sums, sizeof(*s->sums));
	if (!s->sums)
		return fail("no-memory", "no memory to save with");
	s->thread = disk_thread_start(s->fd);
	if (!s->thread)
		return -1;
	s->unit = disk_thread_buffer(s->thread);
	for (u32 i = 0; i < ram.nr; i++)
		if (save_range(s, &ram.r[i]))
			return -1;
	if (flush_unit(s) || !disk_thread_take(s->thread))
		return -1;
	return write_header(s);
}

int image_save(const struct save_job *job, struct image_stats *stats)
{
	struct saver s = { .job = job, .fd = disk_open(job->disk, O_RDWR) };
	int err;

	if (s.fd < 0)
		return -1;
	err = save_all(&s);
	*stats = (struct image_stats){
		.stored_bytes = s.stored_pages * PAGE,
		.zero_bytes = filled_pages(&s) * PAGE,
		.free_bytes = s.free_pages * PAGE,
		.file_bytes = DATA_OFFSET + s.stored_pages * PAGE,
		.segments = s.nr_segs,
	};
	if (s.thread && disk_thread_end(s.thread))
		err = -1;
	free(s.sums);
	free(s.segs);
	if (close(s.fd) && !err)
		err = fail_errno("disk-error", "close");
	return err;
}
