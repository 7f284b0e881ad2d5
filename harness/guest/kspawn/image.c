// SPDX-License-Identifier: GPL-2.0-only
/* An image on a disk is read: its notes, its rules, its stored memory. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crc32.h"
#include "disk.h"
#include "failure.h"
#include "image.h"
#include "image_format.h"
#include "memory_map.h"
#include "ranges.h"
#include "types.h"

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
	u8 *block = disk_memory(BLOCK);
	int err;

	if (!block)
		return -1;
	err = disk_read(image->fd, block, BLOCK, 0);
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
	image->head = disk_memory((image->head_len + BLOCK - 1) & ~(BLOCK - 1));
	if (!image->head)
		return -1;
	return disk_read(image->fd, image->head,
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
		    !ranges_hold(&info->ram, phdr[i].p_paddr, end))
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
	if (disk_read(image->fd, image->chunk, (len + BLOCK - 1) & ~(BLOCK - 1),
		     DATA_OFFSET + index * CHUNK))
		return -1;
	if (crc32_update(0, image->chunk, len) != image->sums[index])
		return fail("damaged", "the checksum of chunk %u is wrong", index);
	image->chunk_at = index + 1;
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
	image->fd = disk_open(disk, O_RDONLY);
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
		.ram = &info->ram,
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
		image->chunk = disk_memory(CHUNK);
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

/*
 * An image is resumed once: a second time, the disks would be ahead of the
 * memory. Only the first bytes go, so that what is left can be looked at.
 */
int image_invalidate(const char *disk)
{
	int fd = disk_open(disk, O_RDWR);
	u8 *block;
	int err;

	if (fd < 0)
		return -1;
	block = disk_memory(BLOCK);
	err = !block || disk_read(fd, block, BLOCK, 0) ? -1 : 0;
	if (!err) {
		memcpy(block, "USED", SELFMAG);
		err = disk_write(fd, block, BLOCK, 0);
	}
	if (!err && fsync(fd))
		err = fail_errno("disk-error", "fsync");
	if (block && munmap(block, BLOCK))
		err = fail_errno("no-memory", "munmap");
	if (close(fd) && !err)
		err = fail_errno("disk-error", "close");
	return err;
}
