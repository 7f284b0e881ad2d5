/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kspawn: the program for all roles of a hibernation through kexec.
 *
 * In the normal kernel it loads the hibernating kernel and jumps; in the
 * spawned kernels it is init, saves and restores the memory of the normal
 * kernel, and jumps back.
 */
#ifndef KSPAWN_H
#define KSPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE		4096UL
#define SPAWNED_END	0x1000000UL	/* the spawned kernels live below 16 MiB */
#define MAX_RANGES	32

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	((a) < (b) ? (a) : (b))

struct range {
	u64 start;
	u64 end;		/* excluded */
};

struct ranges {
	u32 nr;
	struct range r[MAX_RANGES];
};

/* What failed last: a word for programs and a line for people. */
struct failure {
	char status[32];
	char detail[256];
};

extern struct failure failure;

int fail(const char *status, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int fail_errno(const char *status, const char *what);

/* One line of JSON, for the status port. */
struct json {
	char buf[6144];
	size_t len;
};

void js_begin(struct json *js, const char *role, const char *event);
void js_str(struct json *js, const char *key, const char *value);
void js_num(struct json *js, const char *key, u64 value);
void js_ranges(struct json *js, const char *key, const struct ranges *ranges);
void js_emit(struct json *js);
int status_open(const char *path, bool must);
void status_to(int fd);
void status(const char *role, const char *event);
void status_failure(const char *role, const char *event);

int read_text(const char *path, char *buf, size_t size);
int read_iomem(const char *name, struct ranges *ranges);
int read_firmware_map(struct ranges *ranges);
bool ranges_equal(const struct ranges *a, const struct ranges *b);
u64 ranges_bytes(const struct ranges *ranges);
/* The part of @in at or above @floor. */
void ranges_above(const struct ranges *in, u64 floor, struct ranges *out);
u64 monotonic_ms(void);
u32 crc32_update(u32 crc, const void *data, size_t len);

/* Physical memory, through mmap(2) of /dev/mem. */
int phys_open(void);
void *phys_map(u64 phys, size_t *len);
int phys_read(u64 phys, void *buf, size_t len);
int phys_write(u64 phys, const void *buf, size_t len);

/*
 * The handoff: what the normal kernel tells the hibernating one. It lies in a
 * locked page of the process that jumps, above 16 MiB, whose address is on the
 * command line of the spawned kernel.
 */
#define HANDOFF_MAGIC		"KSPAWNHO"
#define HANDOFF_VERSION		2

enum outcome {
	OUTCOME_NONE,		/* nobody came back yet */
	OUTCOME_IMAGE,		/* back from a hibernation image */
	OUTCOME_PLAIN,		/* back from a plain jump */
	OUTCOME_FAILED,		/* the image could not be saved */
};

struct handoff {
	char magic[8];
	u32 version;
	u32 crc;		/* of all that follows, up to end */
	u64 vmcoreinfo;		/* physical address, 0 where there is none */
	u64 vmcoreinfo_size;
	char release[64];
	char boot_id[40];
	struct ranges ram;
	struct ranges firmware;
	u64 memfree_pages;	/* MemFree just before the jump */
	u64 percpu_pages;	/* in the lists of the CPUs, not in MemFree */
	u32 free_matters;	/* the kernel counts on its free pages' content */
	char free_why[60];	/* how that is known */
	u32 end;
	/* Written by the spawned kernel: not part of the checksum. */
	u32 outcome;
	char status[32];
	char detail[256];
};

u32 handoff_crc(const struct handoff *handoff);

/* The page list of the jump: where the normal kernel's 0-16 MiB went. */
int backup_map_read(u64 entry);
/* Where @phys of the normal kernel is now, or 0 if that is not known. */
u64 normal_phys(u64 phys);
int normal_read(u64 phys, void *buf, size_t len);
void backup_ranges(struct ranges *ranges);

struct save_job {
	const char *disk;
	u64 entry;
	u64 handoff_phys;
	const struct handoff *handoff;
	const u8 *skip;		/* a bit a page frame that need not be saved */
	u64 skip_frames;
};

struct image_stats {
	u64 stored_bytes;
	u64 zero_bytes;
	u64 free_bytes;
	u64 file_bytes;
	u32 segments;
};

#define MAX_VMCOREINFO	8192

/* The text of the normal kernel's VMCOREINFO note; its length, or 0. */
size_t read_vmcoreinfo(const struct handoff *ho, char *buf);

/* What the filter found, in pages. */
struct free_stats {
	u64 free_pages;
	u64 below_pages;	/* of these, below 16 MiB: not in the image */
	u64 listed_pages;	/* in the kernel's free lists, by its own count */
	u64 unknown_pages;	/* not understood, so they are kept */
};

u8 *free_pages_find(const struct handoff *ho, u64 *frames,
		    struct free_stats *stats);

int image_save(const struct save_job *job, struct image_stats *stats);

/* An image on a disk; its header is whole, and it is of this machine. */
struct image;

struct image_facts {
	u64 entry;
	struct image_stats stats;
	char release[64];
	char boot_id[40];
	const char *vmcoreinfo;	/* text, not terminated, or NULL */
	size_t vmcoreinfo_len;
};

/* Stored memory, then memory that is zero; in bytes, whole pages. */
struct image_segment {
	u64 phys;
	u64 stored;
	u64 size;
};

/* Takes stored memory; whole pages. */
typedef int image_sink(void *context, u64 phys, const void *data, size_t len);

struct image *image_open(const char *disk);
int image_close(struct image *image);
void image_facts(const struct image *image, struct image_facts *facts);
/* @index: below the number of segments in the facts; they ascend. */
void image_segment(const struct image *image, u32 index, struct image_segment *seg);
/* Gives all stored memory to @sink, each piece after its checksum was found right. */
int image_stored(struct image *image, image_sink *sink, void *context);

/* A way to write the memory of the normal kernel. */
struct memory_way {
	const char *name;
	/* Before the first put(); @entry is where the jump will go. */
	int (*begin)(void *context, u64 entry);
	image_sink *put;
	/* Whole pages, all bytes the same. */
	int (*fill)(void *context, u64 phys, u64 len, u8 value);
	/* Writes what put() and fill() may have kept back. */
	int (*flush)(void *context);
	void *context;
};

extern const struct memory_way dev_mem_way;

/* Restores the image on @disk; *entry is where to jump. */
int image_restore(const char *disk, const struct memory_way *way, bool scribble,
		  u64 *entry, struct image_stats *stats);
int image_invalidate(const char *disk);

/* From include/uapi/linux/kexec.h; the last two are ours, see kernels/patches. */
#define KEXEC_ON_CRASH		0x1
#define KEXEC_PRESERVE_CONTEXT	0x2
#define KEXEC_IN_PLACE		0x10
#define KEXEC_MORE		0x20
#define KEXEC_SEGMENT_MAX	16

struct kexec_segment {
	const void *buf;
	size_t bufsz;
	u64 mem;
	size_t memsz;
};

long do_kexec_load(u64 entry, unsigned long nr,
		   const struct kexec_segment *segs, unsigned long flags);
int kexec_load_page(u64 mem, const void *page, u64 entry, bool keep_context);
int kexec_unload(void);
/* Tries to jump where nothing may be loaded; does not return if something is. */
bool kexec_jump_refused(void);

/* Restoring in place: kexec_load(2) writes, and loads what is jumped to. */
const struct memory_way *in_place_way(void);
/* Loads the page of @entry, which was put: what is left is the jump. */
int in_place_load(u64 entry);
u64 in_place_calls(void);
/* What kexec_load(2) says to segments that it must refuse, and to good ones. */
int in_place_probe(const char *role);

/* What /dev/mem gives of this kernel's own memory. */
const char *dev_mem_state(void);
int kspawn_jump(const char **command);
u64 meminfo_kb(const char *key);
/* Whether this kernel has page tables of five levels, not four. */
int has_five_levels(bool *five);
/* What kernel this is, on what CPU, and what memory it has. */
void js_kernel(struct json *js);
void js_stats(struct json *js, const struct image_stats *stats);
int cmd_find_image(int argc, char **argv);
int cmd_resume_snapshot(int argc, char **argv);
/* What became of the memory above 16 MiB. */
struct grown {
	u64 block_bytes;
	u32 added;		/* blocks */
	u32 refused;
	u64 left_bytes;		/* RAM that makes no whole block */
};

int memory_grow(struct grown *grown);
int userland_unpack(const char *disk, u32 *files);
int userland_enter(void);

/* Serves commands on a port of its own, until one says to go on. */
void spawned_shell(const char *role, u64 entry);

void spawned_init(void) __attribute__((noreturn));
int cmd_spawn(int argc, char **argv);
int cmd_payload(int argc, char **argv);

#endif
