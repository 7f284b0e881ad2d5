// SPDX-License-Identifier: GPL-2.0-only
/* An image on a disk is read: its notes, its rules, its stored memory. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chunk_sum.h"
#include "crc32.h"
#include "disk.h"
#include "disk_thread.h"
#include "failure.h"
#include "image.h"
#include "image_format.h"
#include "image_rules.h"
#include "memory_map.h"
#include "ranges.h"
#include "types.h"

struct image {
	const char *disk;
	int fd;
	u8 *head;		/* the header area, whole */
	size_t head_len;
	struct info info;
	const u32 *sums;
	u32 nr_sums;
	const u8 *info_desc;	/* the descriptions of our notes */
	const u8 *sums_desc;
	const u8 *seal_desc;
	u32 info_len;
	u32 sums_len;
	const char *vmcoreinfo;	/* text, not terminated */
	size_t vmcoreinfo_len;
	struct disk_thread *thread;
	const u8 *unit;		/* what was read last */
	const u8 *chunk;	/* the one of its chunks that is in use */
	u32 chunk_at;		/* its index + 1 */
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
	if (image->segments > MAX_SEGMENTS ||
	    notes.p_offset != sizeof(ehdr) + ehdr.e_phnum * sizeof(notes) ||
	    notes.p_filesz > DATA_OFFSET || image->head_len > DATA_OFFSET)
		return fail("damaged", "the header does not hold together");
	image->head = disk_memory((image->head_len + BLOCK - 1) & ~(BLOCK - 1));
	if (!image->head)
		return -1;
	return disk_read(image->fd, image->head,
			(image->head_len + BLOCK - 1) & ~(BLOCK - 1), 0);
}

static bool named(const Elf64_Nhdr *nhdr, const char *name)
{
	return nhdr->n_namesz == strlen(name) + 1 &&
	       !memcmp(nhdr + 1, name, nhdr->n_namesz);
}

/* One of our notes: each is there once. */
static int take_note(struct image *image, const Elf64_Nhdr *nhdr, const u8 *desc)
{
	const u8 **place;

	if (nhdr->n_type == NT_KSPAWN_INFO)
		place = &image->info_desc;
	else if (nhdr->n_type == NT_KSPAWN_SUMS)
		place = &image->sums_desc;
	else if (nhdr->n_type == NT_KSPAWN_SEAL)
		place = &image->seal_desc;
	else
		return 0;
	if (*place)
		return fail("damaged", "a note is there twice");
	*place = desc;
	if (nhdr->n_type == NT_KSPAWN_INFO)
		image->info_len = nhdr->n_descsz;
	else if (nhdr->n_type == NT_KSPAWN_SUMS)
		image->sums_len = nhdr->n_descsz;
	else if (nhdr->n_descsz != sizeof(u32))
		return fail("damaged", "the seal has %u bytes", nhdr->n_descsz);
	return 0;
}

/* Finds our notes, which fill their segment to its end. */
static int find_notes(struct image *image)
{
	const Elf64_Phdr *notes = (void *)(image->head + sizeof(Elf64_Ehdr));
	size_t at = notes->p_offset;

	while (at < image->head_len) {
		const Elf64_Nhdr *nhdr = (void *)(image->head + at);
		size_t desc, next;

		if (at + sizeof(*nhdr) > image->head_len)
			return fail("damaged", "a note ends after the notes");
		desc = at + sizeof(*nhdr) + pad4(nhdr->n_namesz);
		next = desc + pad4(nhdr->n_descsz);
		if (nhdr->n_namesz > 64 || nhdr->n_descsz > DATA_OFFSET ||
		    next > image->head_len)
			return fail("damaged", "a note ends after the notes");
		at = next;
		if (named(nhdr, "VMCOREINFO")) {
			image->vmcoreinfo = (char *)image->head + desc;
			image->vmcoreinfo_len = nhdr->n_descsz;
		} else if (named(nhdr, NOTE_NAME) &&
			   take_note(image, nhdr, image->head + desc)) {
			return -1;
		}
	}
	return 0;
}

/* Takes what the notes say, once the seal over all that is before it holds. */
static int read_notes(struct image *image)
{
	const u8 *seal = image->seal_desc;
	u32 sealed;

	if (!image->info_desc)
		return fail("foreign", "not a hibernation image of kspawn");
	if (check_version(image->info_desc, image->info_len))
		return -1;
	if (!image->sums_desc || image->sums_len % sizeof(u32) || !seal ||
	    seal + sizeof(sealed) != image->head + image->head_len)
		return fail("damaged", "the checksums are missing");
	memcpy(&sealed, seal, sizeof(sealed));
	if (sealed != crc32_update(0, image->head, seal - image->head))
		return fail("damaged", "the checksum of the header is wrong");
	/* Copied: a note is aligned to four bytes only. */
	memcpy(&image->info, image->info_desc, sizeof(image->info));
	image->sums = (void *)image->sums_desc;
	image->nr_sums = image->sums_len / sizeof(u32);
	return 0;
}

static int check_image(const struct image *image, const struct ranges *machine)
{
	const Elf64_Phdr *phdr = (void *)(image->head + sizeof(Elf64_Ehdr));
	off_t end = lseek(image->fd, 0, SEEK_END);
	struct claim claim = {
		.info = &image->info,
		.loads = phdr + 1,	/* the notes come first */
		.segments = image->segments,
		.nr_sums = image->nr_sums,
		.disk_bytes = end,
		.machine = machine,
	};
	struct ranges firmware;

	if (end < 0)
		return fail_errno("disk-error", image->disk);
	if (!machine) {
		if (read_firmware_map(&firmware))
			return -1;
		claim.machine = &firmware;
	}
	return check_claim(&claim);
}

static u64 chunk_bytes(const struct image *image, u32 index)
{
	return MIN(image->info.stored_bytes - index * CHUNK, CHUNK);
}

static int read_ahead(struct image *image, u64 at)
{
	u64 len = MIN(image->info.stored_bytes - at, UNIT);

	return disk_thread_read(image->thread, (len + BLOCK - 1) & ~(BLOCK - 1),
				DATA_OFFSET + at);
}

/* Units are taken in their order: the next is read while this one is used. */
static int load_unit(struct image *image, u64 at)
{
	if (!at && read_ahead(image, at))
		return -1;
	image->unit = disk_thread_take(image->thread);
	if (!image->unit)
		return -1;
	return at + UNIT < image->info.stored_bytes ?
		       read_ahead(image, at + UNIT) : 0;
}

static int load_chunk(struct image *image, u32 index)
{
	u64 at = index * CHUNK;

	if (image->chunk_at == index + 1)
		return 0;
	image->chunk_at = 0;
	if (!(at % UNIT) && load_unit(image, at))
		return -1;
	image->chunk = image->unit + at % UNIT;
	if (chunk_sum(image->info.version, image->chunk,
		      chunk_bytes(image, index)) != image->sums[index])
		return fail("damaged", "the checksum of chunk %u is wrong", index);
	image->chunk_at = index + 1;
	return 0;
}

struct image *image_open(const char *disk, const struct ranges *machine)
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
	if (read_head(image) || find_notes(image) || read_notes(image) ||
	    check_image(image, machine)) {
		image_close(image);
		return NULL;
	}
	return image;
}

int image_close(struct image *image)
{
	size_t head = (image->head_len + BLOCK - 1) & ~(BLOCK - 1);
	int err = 0;

	if (image->thread && disk_thread_end(image->thread))
		err = -1;
	if (image->head && munmap(image->head, head))
		err = fail_errno("no-memory", "munmap");
	if (close(image->fd))
		err = fail_errno("disk-error", "close");
	free(image);
	return err;
}

void image_facts(const struct image *image, struct image_facts *facts)
{
	const struct info *info = &image->info;

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
		.value = (phdr->p_flags & FILL_MASK) >> FILL_SHIFT,
	};
}

int image_stored(struct image *image, image_sink *sink, void *context)
{
	struct image_segment seg;
	u64 at = 0;

	if (!image->thread)
		image->thread = disk_thread_start(image->fd);
	if (!image->thread)
		return -1;
	image->chunk_at = 0;
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
