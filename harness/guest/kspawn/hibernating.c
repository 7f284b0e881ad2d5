// SPDX-License-Identifier: GPL-2.0-only
/* The hibernating kernel: saves the memory, or goes straight back. */
#include <stdlib.h>
#include <string.h>

#include "backup.h"
#include "boot_options.h"
#include "clock.h"
#include "failure.h"
#include "free_pages.h"
#include "handoff.h"
#include "hibernating.h"
#include "image_save.h"
#include "image_stats.h"
#include "jump_back.h"
#include "kexec.h"
#include "physical.h"
#include "power_off.h"
#include "ranges.h"
#include "status.h"
#include "this_kernel.h"
#include "types.h"

static int read_handoff(const struct boot_options *o, struct handoff *ho)
{
	if (!o->handoff || !o->entry)
		return fail("no-handoff", "not on the command line");
	if (phys_read(o->handoff, ho, sizeof(*ho)))
		return -1;
	if (memcmp(ho->magic, HANDOFF_MAGIC, sizeof(ho->magic)) ||
	    ho->version != HANDOFF_VERSION || ho->crc != handoff_crc(ho))
		return fail("no-handoff", "what lies at %#llx is not a handoff",
			    (unsigned long long)o->handoff);
	return 0;
}

/* Tells the normal kernel, in its own memory, how it comes back. */
static int set_outcome(const struct boot_options *o, struct handoff *ho,
		       enum outcome outcome)
{
	ho->outcome = outcome;
	if (outcome == OUTCOME_FAILED) {
		memcpy(ho->status, failure.status, sizeof(ho->status));
		memcpy(ho->detail, failure.detail, sizeof(ho->detail));
	}
	return phys_write(o->handoff, ho, sizeof(*ho));
}

static void report_kept(struct json *js, const char *reason, const char *detail)
{
	js_str(js, "status", "kept");
	js_str(js, "reason", reason);
	js_str(js, "detail", detail);
}

/* The free pages that need not be saved, or NULL; says which and why. */
static u8 *leave_out(const struct boot_options *o, const struct handoff *ho,
		     u64 *frames)
{
	struct free_stats stats;
	struct json js;
	u64 started = monotonic_ms();
	u8 *skip = NULL;

	js_begin(&js, o->role, "filtered");
	if (o->filter == FILTER_OFF) {
		report_kept(&js, "off", "kspawn.filter=0");
	} else if (ho->free_matters && o->filter != FILTER_FORCE) {
		report_kept(&js, "content", ho->free_why);
	} else {
		skip = free_pages_find(ho, frames, &stats);
		if (!skip)
			report_kept(&js, "failed", failure.detail);
		js_num(&js, "free_pages", stats.free_pages);
		js_num(&js, "below_pages", stats.below_pages);
		js_num(&js, "listed_pages", stats.listed_pages);
		js_num(&js, "unknown_pages", stats.unknown_pages);
	}
	js_num(&js, "memfree_pages", ho->memfree_pages);
	js_num(&js, "percpu_pages", ho->percpu_pages);
	js_num(&js, "took_ms", monotonic_ms() - started);
	js_emit(&js);
	return skip;
}

/* What the normal kernel has, and where the jump put what was below 16 MiB. */
static void report_memory(const struct boot_options *o,
			  const struct handoff *ho, const char *event)
{
	struct ranges backup;
	struct json js;

	js_begin(&js, o->role, event);
	js_ranges(&js, "ram", &ho->ram);
	/* Not known on every kernel: the report then lacks the backup area. */
	if (!backup_map_read(o->entry)) {
		backup_ranges(&backup);
		js_ranges(&js, "backup", &backup);
	}
	js_emit(&js);
}

static int hibernate(const struct boot_options *o, struct handoff *ho)
{
	struct save_job job = {
		.disk = o->disk,
		.entry = o->entry,
		.handoff_phys = o->handoff,
		.handoff = ho,
	};
	struct image_stats stats;
	struct json js;
	u64 started = monotonic_ms();
	u8 *skip;
	int err;

	report_memory(o, ho, "saving");
	/* Before the save: it is part of the image. */
	if (set_outcome(o, ho, OUTCOME_IMAGE))
		return -1;
	skip = leave_out(o, ho, &job.skip_frames);
	job.skip = skip;
	err = image_save(&job, &stats);
	free(skip);
	if (err)
		return -1;
	js_image(&js, o->role, "saved", &stats, started);
	js_emit(&js);
	return 0;
}

/*
 * Back and forth: this kernel is left with its context kept, and is entered
 * again where it left, not at its start.
 *
 * What jumps back is loaded once. Each jump swaps the page of the entry, which
 * holds the normal kernel's registers, with what was loaded; a page read anew
 * would be that of the first jump.
 */
static int stay(const struct boot_options *o, struct handoff *ho)
{
	struct json js;

	if (jump_back_load(o->entry, true))
		return -1;
	for (u64 times = 1;; times++) {
		if (set_outcome(o, ho, OUTCOME_PLAIN) || kspawn_jump(NULL))
			return -1;
		js_begin(&js, o->role, "again");
		js_kernel(&js);
		js_num(&js, "times", times);
		js_emit(&js);
		if (read_handoff(o, ho))
			return -1;
	}
}

void run_hibernating(const struct boot_options *o)
{
	struct handoff ho;

	if (read_handoff(o, &ho)) {
		status_failure(o->role, "error");
		power_off(o);
		return;
	}
	if (o->plain) {
		report_memory(o, &ho, "plain");
		if (o->stay ? stay(o, &ho) :
		    set_outcome(o, &ho, OUTCOME_PLAIN) || jump_back(o->entry))
			status_failure(o->role, "error");
		return;
	}
	if (!hibernate(o, &ho)) {
		power_off(o);
		return;
	}
	/* Nothing is lost: the normal kernel goes on, and is told why. */
	status_failure(o->role, "error");
	if (set_outcome(o, &ho, OUTCOME_FAILED) || jump_back(o->entry))
		status_failure(o->role, "error");
}
