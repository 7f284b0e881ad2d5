// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's reader of images in a loop: for each path on standard input it says
 * what it found, and how much of the reader has been entered by then.
 *
 * It takes the place of main.c. The reader is compiled with -fsanitize-coverage=trace-pc,
 * which calls __sanitizer_cov_trace_pc() at each branch; this file is not.
 */
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "image.h"
#include "image_stats.h"
#include "ranges.h"
#include "types.h"

#define UNSEEN __attribute__((no_sanitize_coverage))
#define PLACES (1U << 16)

static u8 entered[PLACES];
static u32 nr_entered;
static u64 last;

void __sanitizer_cov_trace_pc(void);

/* Edges, as AFL counts them: where it came from and where it is. */
UNSEEN void __sanitizer_cov_trace_pc(void)
{
	u64 here = (u64)__builtin_return_address(0);
	u32 at = (u32)((here ^ (last << 1) ^ (here >> 16)) % PLACES);

	last = here;
	if (!entered[at]) {
		entered[at] = 1;
		nr_entered++;
	}
}

/* Every byte is read: a reader that gives away what it has not is found out. */
UNSEEN static int add_up(void *context, u64 phys, const void *data, size_t len)
{
	u64 *sum = context;
	const u8 *p = data;

	for (size_t i = 0; i < len; i++)
		*sum += p[i] ^ phys;
	return 0;
}

UNSEEN static const char *read_one(const char *path, const struct ranges *machine, u64 *sum)
{
	struct image *image = image_open(path, machine);
	struct image_facts facts;
	int err;

	if (!image)
		return failure.status;
	image_facts(image, &facts);
	for (size_t i = 0; i < facts.vmcoreinfo_len; i++)
		*sum += (u8)facts.vmcoreinfo[i];
	err = image_stored(image, add_up, sum);
	if (image_close(image) || err)
		return failure.status;
	return "whole";
}

UNSEEN int main(int argc, char **argv)
{
	struct ranges machine = { .nr = 0 };
	unsigned long long start, end;
	char path[4096];
	u64 sum = 0;

	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "%llx-%llx", &start, &end) != 2 ||
		    ranges_add(&machine, start, end))
			return 2;
	while (fgets(path, sizeof(path), stdin)) {
		const char *word;

		path[strcspn(path, "\n")] = '\0';
		last = 0;
		memset(&failure, 0, sizeof(failure));
		word = read_one(path, &machine, &sum);
		printf("%s %u %llx\n", word[0] ? word : "nothing", nr_entered,
		       (unsigned long long)sum);
		fflush(stdout);
	}
	return 0;
}
