// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hibernation image: an ELF64 core on a raw disk. docs/image-format.md
 * describes it; harness/image/image.py reads it on the host.
 *
 * All I/O is O_DIRECT: through the page cache, the later kexec_load() in
 * 0-16 MiB fails with ENOMEM.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kspawn.h"

#define DATA_OFFSET	(2UL << 20)	/* the header area lies before it */
#define CHUNK		(256UL << 10)	/* unit of I/O and of the checksums */
#define BLOCK		4096UL		/* what O_DIRECT asks of us, and more */
#define MAX_SEGMENTS	32768
/* A shorter run of zero pages is stored: a segment costs 56 bytes. */
#define MIN_ZERO_RUN	8

#define FORMAT_VERSION	1
#define NOTE_NAME	"KSPAWN"
/* Not 1 to 3: readelf takes those for NT_PRSTATUS and its like, whoever's. */
#define NT_KSPAWN_INFO	0x4b530001
#define NT_KSPAWN_SUMS	0x4b530002
#define NT_KSPAWN_SEAL	0x4b530003

struct info {
	u32 version;
	u32 page_bytes;
	u64 entry;
	u64 data_offset;
	u64 stored_bytes;
	u64 zero_bytes;
	u64 free_bytes;
	u32 chunk_bytes;
	u32 chunks;
	u64 handoff;
	u64 memfree_pages;
	char release[64];
	char boot_id[40];
	struct ranges ram;
	struct ranges firmware;
	struct ranges backup;
};

struct segment {
	u64 phys;
	u32 stored;	/* pages */
	u32 zero;	/* pages that follow them */
};

static void *aligned(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		fail_errno("no-memory", "mmap");
		return NULL;
	}
	return p;
}

static int write_all(int fd, const void *buf, size_t len, u64 offset)
{
	const u8 *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOSPC)
			return fail_errno("disk-error", "write of the image");
		if (n <= 0)
			return fail("no-space", "the disk ends at %llu bytes",
				    (unsigned long long)offset);
		p += n;
		len -= n;
		offset += n;
	}
	return 0;
}

static int read_all(int fd, void *buf, size_t len, u64 offset)
{
	u8 *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno("disk-error", "read of the image");
		if (!n)
			return fail("truncated", "the disk ends at %llu bytes",
				    (unsigned long long)offset);
		p += n;
		len -= n;
		offset += n;
	}
	return 0;
}

static int open_disk(const char *path, int flags)
{
	int fd = -1;

	/* Some controllers find their disks after init has started. */
	for (int tries = 0; fd < 0 && tries < 100; tries++) {
		fd = open(path, flags | O_DIRECT | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT && errno != ENXIO)
			break;
		if (fd < 0)
			usleep(100000);
	}
	return fd < 0 ? fail_errno("no-disk", path) : fd;
}

/* ---- saving ---------------------------------------------------------- */

struct saver {
	const struct save_job *job;
	int fd;
	u64 disk_bytes;
	u8 *chunk;
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

static int flush_chunk(struct saver *s)
{
	u64 offset = DATA_OFFSET + s->nr_sums * CHUNK;
	size_t len = (s->fill + BLOCK - 1) & ~(BLOCK - 1);

	if (!s->fill)
		return 0;
	if (offset + len > s->disk_bytes)
		return fail("no-space",
			    "the image needs more than the %llu bytes of %s",
			    (unsigned long long)s->disk_bytes, s->job->disk);
	if (s->nr_sums == s->max_sums)
		return fail("no-memory", "too many chunks");
	s->sums[s->nr_sums] = crc32_update(0, s->chunk, s->fill);
	if (write_all(s->fd, s->chunk, len, offset))
		return -1;
	s->nr_sums++;
	s->fill = 0;
	return 0;
}

static int store_page(struct saver *s, const void *page)
{
	if (page)
		memcpy(s->chunk + s->fill, page, PAGE);
	else
		memset(s->chunk + s->fill, 0, PAGE);
	s->fill += PAGE;
	s->stored_pages++;
	return s->fill == CHUNK ? flush_chunk(s) : 0;
}

static bool zero_page(const void *page)
{
	const u64 *p = page;

	for (size_t i = 0; i < PAGE / sizeof(*p); i += 8)
		if (p[i] | p[i + 1] | p[i + 2] | p[i + 3] |
		    p[i + 4] | p[i + 5] | p[i + 6] | p[i + 7])
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

/*
 * A segment is a run of stored pages and the run of zero pages after it; a
 * free page ends it. Nearly out of segments, pages are stored instead.
 */
static int save_page(struct saver *s, u64 phys, const void *page)
{
	bool tight = s->nr_segs >= MAX_SEGMENTS - 2;
	struct segment *seg = s->nr_segs ? &s->segs[s->nr_segs - 1] : NULL;
	bool joins = seg && seg->phys + (seg->stored + seg->zero) * PAGE == phys;
	bool zero;

	if (may_skip(s, phys / PAGE) && !(tight && joins)) {
		s->free_pages++;
		return 0;
	}
	zero = zero_page(page);
	if (!joins) {
		if (s->nr_segs >= MAX_SEGMENTS)
			return fail("no-memory", "too many segments");
		if (new_segment(s, phys))
			return -1;
		seg = &s->segs[s->nr_segs - 1];
	}
	if (zero) {
		seg->zero++;
		return 0;
	}
	if (seg->zero && (seg->zero < MIN_ZERO_RUN || tight)) {
		for (; seg->zero; seg->zero--, seg->stored++)
			if (store_page(s, NULL))
				return -1;
	} else if (seg->zero) {
		if (new_segment(s, phys))
			return -1;
		seg = &s->segs[s->nr_segs - 1];
	}
	seg->stored++;
	return store_page(s, page);
}

static int save_range(struct saver *s, const struct range *range)
{
	for (u64 phys = range->start; phys < range->end;) {
		size_t len = range->end - phys;
		const u8 *mem = phys_map(phys, &len);

		if (!mem)
			return -1;
		for (size_t at = 0; at < len; at += PAGE)
			if (save_page(s, phys + at, mem + at))
				return -1;
		phys += len;
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
			if (write_all(h->fd, block, BLOCK, h->at - BLOCK))
				return -1;
			memset(block, 0, BLOCK);
		}
	}
	return 0;
}

static size_t pad4(size_t len)
{
	return (len + 3) & ~3UL;
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

size_t read_vmcoreinfo(const struct handoff *ho, char *buf)
{
	size_t size = MIN(ho->vmcoreinfo_size, MAX_VMCOREINFO);
	Elf64_Nhdr nhdr;
	size_t head;

	if (!ho->vmcoreinfo || normal_read(ho->vmcoreinfo, &nhdr, sizeof(nhdr)))
		return 0;
	head = sizeof(nhdr) + pad4(nhdr.n_namesz);
	if (nhdr.n_namesz != sizeof("VMCOREINFO") ||
	    head + nhdr.n_descsz > size)
		return 0;
	return normal_read(ho->vmcoreinfo + head, buf, nhdr.n_descsz) ?
		       0 : nhdr.n_descsz;
}

static int put_segments(struct header *h, const struct saver *s)
{
	u64 offset = DATA_OFFSET;

	for (u32 i = 0; i < s->nr_segs; i++) {
		const struct segment *seg = &s->segs[i];
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W | PF_X,
			.p_offset = offset,
			.p_paddr = seg->phys,
			.p_filesz = seg->stored * PAGE,
			.p_memsz = (seg->stored + (u64)seg->zero) * PAGE,
			.p_align = PAGE,
		};

		offset += phdr.p_filesz;
		if (header_put(h, &phdr, sizeof(phdr)))
			return -1;
	}
	return 0;
}

static u64 zero_pages(const struct saver *s)
{
	u64 sum = 0;

	for (u32 i = 0; i < s->nr_segs; i++)
		sum += s->segs[i].zero;
	return sum;
}

static int write_header(struct saver *s)
{
	const struct handoff *ho = s->job->handoff;
	struct info *info = calloc(1, sizeof(*info));
	char *vmcoreinfo = malloc(MAX_VMCOREINFO);
	u8 *blocks = aligned(2 * BLOCK);
	struct header h = { .fd = s->fd, .first = blocks, .block = blocks + BLOCK };
	u32 sums_bytes = s->nr_sums * sizeof(u32);
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
	size_t vm_size;
	u32 seal;
	int err = -1;

	if (!info || !vmcoreinfo || !blocks) {
		fail("no-memory", "no memory for the header");
		goto out;
	}
	vm_size = read_vmcoreinfo(ho, vmcoreinfo);
	*info = (struct info){
		.version = FORMAT_VERSION,
		.page_bytes = PAGE,
		.entry = s->job->entry,
		.data_offset = DATA_OFFSET,
		.stored_bytes = s->stored_pages * PAGE,
		.zero_bytes = zero_pages(s) * PAGE,
		.free_bytes = s->free_pages * PAGE,
		.chunk_bytes = CHUNK,
		.chunks = s->nr_sums,
		.handoff = s->job->handoff_phys,
		.memfree_pages = ho->memfree_pages,
	};
	memcpy(info->release, ho->release, sizeof(info->release));
	memcpy(info->boot_id, ho->boot_id, sizeof(info->boot_id));
	ranges_above(&ho->ram, SPAWNED_END, &info->ram);
	info->firmware = ho->firmware;
	backup_ranges(&info->backup);

	if (vm_size)
		notes.p_filesz += note_bytes("VMCOREINFO", vm_size);
	notes.p_filesz += note_bytes(NOTE_NAME, sizeof(*info));
	notes.p_filesz += note_bytes(NOTE_NAME, sums_bytes);
	notes.p_filesz += note_bytes(NOTE_NAME, sizeof(seal));

	if (header_put(&h, &ehdr, sizeof(ehdr)) ||
	    header_put(&h, &notes, sizeof(notes)) || put_segments(&h, s))
		goto out;
	if (vm_size && put_note(&h, "VMCOREINFO", 0, vmcoreinfo, vm_size))
		goto out;
	if (put_note(&h, NOTE_NAME, NT_KSPAWN_INFO, info, sizeof(*info)) ||
	    put_note(&h, NOTE_NAME, NT_KSPAWN_SUMS, s->sums, sums_bytes) ||
	    note_head(&h, NOTE_NAME, NT_KSPAWN_SEAL, sizeof(seal)))
		goto out;
	seal = h.crc;	/* of all before it */
	if (header_put(&h, &seal, sizeof(seal)))
		goto out;
	if (h.at % BLOCK && h.at > BLOCK &&
	    write_all(s->fd, h.block, BLOCK, h.at / BLOCK * BLOCK))
		goto out;
	/* Only now, with all else on the disk, does it become an image. */
	if (fsync(s->fd)) {
		fail_errno("disk-error", "fsync of the image");
		goto out;
	}
	if (write_all(s->fd, h.first, BLOCK, 0))
		goto out;
	if (fsync(s->fd)) {
		fail_errno("disk-error", "fsync of the header");
		goto out;
	}
	err = 0;
out:
	free(info);
	free(vmcoreinfo);
	if (blocks && munmap(blocks, 2 * BLOCK))
		err = fail_errno("no-memory", "munmap");
	return err;
}

static int clear_header(int fd)
{
	u8 *block = aligned(BLOCK);
	int err;

	if (!block)
		return -1;
	err = write_all(fd, block, BLOCK, 0);
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
	s->chunk = aligned(CHUNK);
	if (!s->sums || !s->chunk)
		return fail("no-memory", "no memory to save with");
	for (u32 i = 0; i < ram.nr; i++)
		if (save_range(s, &ram.r[i]))
			return -1;
	if (flush_chunk(s))
		return -1;
	return write_header(s);
}

int image_save(const struct save_job *job, struct image_stats *stats)
{
	struct saver s = { .job = job, .fd = open_disk(job->disk, O_RDWR) };
	int err;

	if (s.fd < 0)
		return -1;
	err = save_all(&s);
	*stats = (struct image_stats){
		.stored_bytes = s.stored_pages * PAGE,
		.zero_bytes = zero_pages(&s) * PAGE,
		.free_bytes = s.free_pages * PAGE,
		.file_bytes = DATA_OFFSET + s.stored_pages * PAGE,
		.segments = s.nr_segs,
	};
	if (s.chunk && munmap(s.chunk, CHUNK))
		err = fail_errno("no-memory", "munmap");
	free(s.sums);
	free(s.segs);
	if (close(s.fd) && !err)
		err = fail_errno("disk-error", "close");
	return err;
}

/* ---- restoring ------------------------------------------------------- */

struct image {
	const char *disk;
	int fd;
	u8 *head;		/* the header area, whole */
	size_t head_len;
	const struct info *info;
	const u32 *sums;
	u32 nr_sums;
	const char *vmcoreinfo;	/* text, not terminated */
	size_t vmcoreinfo_len;
	u8 *chunk;
	u32 chunk_at;		/* index of the chunk in memory, + 1 */
	u32 segments;
};

static int read_head(struct image *image)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr notes;
	u8 *block = aligned(BLOCK);
	int err;

	if (!block)
		return -1;
	err = read_all(image->fd, block, BLOCK, 0);
	memcpy(&ehdr, block, sizeof(ehdr));
	memcpy(&notes, block + sizeof(ehdr), sizeof(notes));
	if (munmap(block, BLOCK))
		return fail_errno("no-memory", "munmap");
	if (err)
		return -1;
	if (memcmp(ehdr.e_ident, ELFMAG, SELFMAG))
		return fail("absent", "there is no image on %s", image->disk);
	if (ehdr.e_ident[EI_CLASS] != ELFCLASS64 ||
	    ehdr.e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr.e_type != ET_CORE || ehdr.e_machine != EM_X86_64)
		return fail("foreign", "not an x86-64 ELF core");
	if (ehdr.e_phoff != sizeof(ehdr) || !ehdr.e_phnum ||
	    ehdr.e_phentsize != sizeof(notes) || notes.p_type != PT_NOTE)
		return fail("foreign", "not a hibernation image of kspawn");
	image->segments = ehdr.e_phnum - 1;
	image->head_len = notes.p_offset + notes.p_filesz;
	if (notes.p_offset != sizeof(ehdr) + ehdr.e_phnum * sizeof(notes) ||
	    notes.p_filesz > DATA_OFFSET || image->head_len > DATA_OFFSET)
		return fail("damaged", "the header does not hold together");
	image->head = aligned((image->head_len + BLOCK - 1) & ~(BLOCK - 1));
	if (!image->head)
		return -1;
	return read_all(image->fd, image->head,
			(image->head_len + BLOCK - 1) & ~(BLOCK - 1), 0);
}

/* Finds our notes; checks the seal over all that comes before it. */
static int parse_notes(struct image *image)
{
	const Elf64_Phdr *notes = (void *)(image->head + sizeof(Elf64_Ehdr));
	const u8 *seal = NULL;
	u32 sealed;
	size_t at = notes->p_offset;

	while (at + sizeof(Elf64_Nhdr) <= image->head_len) {
		const Elf64_Nhdr *nhdr = (void *)(image->head + at);
		const char *name = (char *)(nhdr + 1);
		size_t desc = at + sizeof(*nhdr) + pad4(nhdr->n_namesz);
		size_t next = desc + pad4(nhdr->n_descsz);

		if (nhdr->n_namesz > 64 || nhdr->n_descsz > DATA_OFFSET ||
		    next > image->head_len)
			return fail("damaged", "a note ends after the notes");
		at = next;
		if (nhdr->n_namesz == sizeof("VMCOREINFO") &&
		    !memcmp(name, "VMCOREINFO", sizeof("VMCOREINFO"))) {
			image->vmcoreinfo = (char *)image->head + desc;
			image->vmcoreinfo_len = nhdr->n_descsz;
		}
		if (nhdr->n_namesz != sizeof(NOTE_NAME) ||
		    memcmp(name, NOTE_NAME, sizeof(NOTE_NAME)))
			continue;
		if (nhdr->n_type == NT_KSPAWN_INFO) {
			image->info = (void *)(image->head + desc);
			if (nhdr->n_descsz >= sizeof(u32) &&
			    image->info->version != FORMAT_VERSION)
				return fail("foreign",
					    "format version %u, not %u",
					    image->info->version, FORMAT_VERSION);
			if (nhdr->n_descsz != sizeof(*image->info))
				return fail("damaged", "the note is too short");
		} else if (nhdr->n_type == NT_KSPAWN_SUMS) {
			image->sums = (void *)(image->head + desc);
			image->nr_sums = nhdr->n_descsz / sizeof(u32);
		} else if (nhdr->n_type == NT_KSPAWN_SEAL &&
			   nhdr->n_descsz == sizeof(u32)) {
			seal = image->head + desc;
		}
	}
	if (!image->info)
		return fail("foreign", "not a hibernation image of kspawn");
	if (!image->sums || !seal)
		return fail("damaged", "the checksums are missing");
	memcpy(&sealed, seal, sizeof(sealed));
	if (sealed != crc32_update(0, image->head, seal - image->head))
		return fail("damaged", "the checksum of the header is wrong");
	return 0;
}

static bool within(const struct ranges *ranges, u64 start, u64 end)
{
	for (u32 i = 0; i < ranges->nr; i++)
		if (start >= ranges->r[i].start && end <= ranges->r[i].end)
			return true;
	return false;
}

/* Whole pages from 1 MiB on, neighbours joined. */
static void joined(const struct ranges *in, struct ranges *out)
{
	struct ranges above;

	ranges_above(in, 1UL << 20, &above);
	out->nr = 0;
	for (u32 i = 0; i < above.nr; i++) {
		if (out->nr && out->r[out->nr - 1].end == above.r[i].start)
			out->r[out->nr - 1].end = above.r[i].end;
		else
			out->r[out->nr++] = above.r[i];
	}
}

/*
 * A kernel that was booted by kexec is told of the same memory, but not in the
 * same pieces, and below 1 MiB not of all of it.
 */
static bool same_memory(const struct ranges *a, const struct ranges *b)
{
	struct ranges x, y;

	joined(a, &x);
	joined(b, &y);
	return ranges_equal(&x, &y);
}

/* An image of another machine must not be written over the memory of this. */
static int check_fit(struct image *image)
{
	const Elf64_Phdr *phdr = (void *)(image->head + sizeof(Elf64_Ehdr));
	const struct info *info = image->info;
	struct ranges firmware;
	u64 stored = 0, last = 0;

	if (info->ram.nr > MAX_RANGES || info->firmware.nr > MAX_RANGES ||
	    info->page_bytes != PAGE || info->chunk_bytes != CHUNK ||
	    info->data_offset != DATA_OFFSET || info->chunks != image->nr_sums)
		return fail("foreign", "the image has another layout");
	if (read_firmware_map(&firmware))
		return -1;
	if (firmware.nr && !same_memory(&firmware, &info->firmware))
		return fail("foreign",
			    "the image is of a machine with %llu kB of RAM, this one has %llu kB",
			    (unsigned long long)ranges_bytes(&info->firmware) >> 10,
			    (unsigned long long)ranges_bytes(&firmware) >> 10);
	for (u32 i = 1; i <= image->segments; i++) {
		u64 end = phdr[i].p_paddr + phdr[i].p_memsz;

		if (phdr[i].p_type != PT_LOAD ||
		    phdr[i].p_filesz > phdr[i].p_memsz ||
		    phdr[i].p_offset != DATA_OFFSET + stored ||
		    (phdr[i].p_paddr | phdr[i].p_memsz | phdr[i].p_filesz) % PAGE ||
		    end < phdr[i].p_paddr || phdr[i].p_paddr < last ||
		    !within(&info->ram, phdr[i].p_paddr, end))
			return fail("damaged", "segment %u is out of place", i);
		stored += phdr[i].p_filesz;
		last = end;
	}
	if (stored != info->stored_bytes ||
	    (stored + CHUNK - 1) / CHUNK != image->nr_sums)
		return fail("damaged", "the segments are not all there");
	return 0;
}

static int load_chunk(struct image *image, u32 index)
{
	u64 left = image->info->stored_bytes - index * CHUNK;
	size_t len = MIN(left, CHUNK);

	if (image->chunk_at == index + 1)
		return 0;
	image->chunk_at = 0;
	if (read_all(image->fd, image->chunk, (len + BLOCK - 1) & ~(BLOCK - 1),
		     DATA_OFFSET + index * CHUNK))
		return -1;
	if (crc32_update(0, image->chunk, len) != image->sums[index])
		return fail("damaged", "the checksum of chunk %u is wrong", index);
	image->chunk_at = index + 1;
	return 0;
}

/*
 * By vectors and not by memset(3): musl's is `rep stosq`, which an emulator
 * takes one word at a time. Whole pages only.
 */
static void fill(void *mem, size_t len, u8 value)
{
	typedef u64 vec __attribute__((vector_size(16)));
	u64 word = value * 0x0101010101010101UL;
	vec v = { word, word };

	for (vec *p = mem, *end = p + len / sizeof(v); p < end; p += 8) {
		p[0] = v;
		p[1] = v;
		p[2] = v;
		p[3] = v;
		p[4] = v;
		p[5] = v;
		p[6] = v;
		p[7] = v;
		/* Else the compiler makes a memset of it again. */
		__asm__ volatile("" : : : "memory");
	}
}

static int fill_phys(void *context, u64 phys, u64 len, u8 value)
{
	(void)context;
	while (len) {
		size_t n = len;
		void *to = phys_map(phys, &n);

		if (!to)
			return -1;
		fill(to, n, value);
		phys += n;
		len -= n;
	}
	return 0;
}

struct image *image_open(const char *disk)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image) {
		fail("no-memory", "no memory for the header");
		return NULL;
	}
	image->disk = disk;
	image->fd = open_disk(disk, O_RDONLY);
	if (image->fd < 0) {
		free(image);
		return NULL;
	}
	if (read_head(image) || parse_notes(image) || check_fit(image)) {
		image_close(image);
		return NULL;
	}
	return image;
}

int image_close(struct image *image)
{
	size_t head = (image->head_len + BLOCK - 1) & ~(BLOCK - 1);
	int err = 0;

	if (image->chunk && munmap(image->chunk, CHUNK))
		err = fail_errno("no-memory", "munmap");
	if (image->head && munmap(image->head, head))
		err = fail_errno("no-memory", "munmap");
	if (close(image->fd))
		err = fail_errno("disk-error", "close");
	free(image);
	return err;
}

void image_facts(const struct image *image, struct image_facts *facts)
{
	const struct info *info = image->info;

	*facts = (struct image_facts){
		.entry = info->entry,
		.stats = {
			.stored_bytes = info->stored_bytes,
			.zero_bytes = info->zero_bytes,
			.free_bytes = info->free_bytes,
			.file_bytes = DATA_OFFSET + info->stored_bytes,
			.segments = image->segments,
		},
		.vmcoreinfo = image->vmcoreinfo,
		.vmcoreinfo_len = image->vmcoreinfo_len,
	};
	snprintf(facts->release, sizeof(facts->release), "%.63s", info->release);
	snprintf(facts->boot_id, sizeof(facts->boot_id), "%.39s", info->boot_id);
}

void image_segment(const struct image *image, u32 index, struct image_segment *seg)
{
	const Elf64_Phdr *phdr = (void *)(image->head + sizeof(Elf64_Ehdr));

	phdr += index + 1;	/* the notes come first */
	*seg = (struct image_segment){
		.phys = phdr->p_paddr,
		.stored = phdr->p_filesz,
		.size = phdr->p_memsz,
	};
}

int image_stored(struct image *image, image_sink *sink, void *context)
{
	struct image_segment seg;
	u64 at = 0;

	if (!image->chunk)
		image->chunk = aligned(CHUNK);
	if (!image->chunk)
		return -1;
	for (u32 i = 0; i < image->segments; i++) {
		image_segment(image, i, &seg);
		while (seg.stored) {
			size_t n = MIN(seg.stored, CHUNK - at % CHUNK);

			if (load_chunk(image, at / CHUNK) ||
			    sink(context, seg.phys, image->chunk + at % CHUNK, n))
				return -1;
			at += n;
			seg.phys += n;
			seg.stored -= n;
		}
	}
	return 0;
}

static int put_phys(void *context, u64 phys, const void *data, size_t len)
{
	(void)context;
	return phys_write(phys, data, len);
}

static int nothing_before(void *context, u64 entry)
{
	(void)context;
	(void)entry;
	return 0;
}

static int nothing_kept(void *context)
{
	(void)context;
	return 0;
}

const struct memory_way dev_mem_way = {
	.name = "/dev/mem",
	.begin = nothing_before,
	.put = put_phys,
	.fill = fill_phys,
	.flush = nothing_kept,
};

static int restore_all(struct image *image, const struct memory_way *way,
		       bool scribble)
{
	const struct ranges *ram = &image->info->ram;
	struct image_segment seg;

	if (way->begin(way->context, image->info->entry))
		return -1;
	for (u32 i = 0; scribble && i < ram->nr; i++)
		if (way->fill(way->context, ram->r[i].start,
			      ram->r[i].end - ram->r[i].start, 0xa5))
			return -1;
	if (image_stored(image, way->put, way->context))
		return -1;
	/* RAM that was off is zero by luck only. */
	for (u32 i = 0; i < image->segments; i++) {
		image_segment(image, i, &seg);
		if (seg.size > seg.stored &&
		    way->fill(way->context, seg.phys + seg.stored,
			      seg.size - seg.stored, 0))
			return -1;
	}
	return way->flush(way->context);
}

int image_restore(const char *disk, const struct memory_way *way, bool scribble,
		  u64 *entry, struct image_stats *stats)
{
	struct image *image = image_open(disk);
	struct image_facts facts;
	int err;

	if (!image)
		return -1;
	image_facts(image, &facts);
	*entry = facts.entry;
	*stats = facts.stats;
	err = restore_all(image, way, scribble);
	return image_close(image) || err ? -1 : 0;
}

/*
 * An image is resumed once: a second time, the disks would be ahead of the
 * memory. Only the first bytes go, so that what is left can be looked at.
 */
int image_invalidate(const char *disk)
{
	int fd = open_disk(disk, O_RDWR);
	u8 *block;
	int err;

	if (fd < 0)
		return -1;
	block = aligned(BLOCK);
	err = !block || read_all(fd, block, BLOCK, 0) ? -1 : 0;
	if (!err) {
		memcpy(block, "USED", SELFMAG);
		err = write_all(fd, block, BLOCK, 0);
	}
	if (!err && fsync(fd))
		err = fail_errno("disk-error", "fsync");
	if (block && munmap(block, BLOCK))
		err = fail_errno("no-memory", "munmap");
	if (close(fd) && !err)
		err = fail_errno("disk-error", "close");
	return err;
}
