// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether an image is whole, all of its stored memory included, and could be
 * resumed on this machine, or on one with the RAM that a file lists. On a host
 * as well: this is the reader of the resuming kernel.
 */
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "failure.h"
#include "image.h"
#include "image_stats.h"
#include "ranges.h"
#include "status.h"
#include "types.h"

#define ROLE	"checker"

/* A line a range: start and end, the end excluded, in hexadecimal. */
static int read_map(const char *path, struct ranges *ranges)
{
	unsigned long long start, end;
	char line[128];
	int err = 0;
	FILE *f = fopen(path, "re");

	ranges->nr = 0;
	if (!f)
		return fail_errno("no-file", path);
	while (!err && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %llx", &start, &end) != 2)
			err = fail("no-file", "%s: %.40s is no range", path, line);
		else
			err = ranges_add(ranges, start, end);
	}
	if (fclose(f) && !err)
		return fail_errno("no-file", path);
	return err;
}

static int nowhere(void *context, u64 phys, const void *data, size_t len)
{
	(void)context;
	(void)phys;
	(void)data;
	(void)len;
	return 0;
}

static int check(const char *path, const struct ranges *machine)
{
	struct image *image = image_open(path, machine);
	struct image_facts facts;
	struct json js;
	int err;

	if (!image)
		return -1;
	image_facts(image, &facts);
	js_begin(&js, ROLE, "whole");
	js_str(&js, "release", facts.release);
	js_num(&js, "entry", facts.entry);
	js_stats(&js, &facts.stats);
	err = image_stored(image, nowhere, NULL);
	if (image_close(image) || err)
		return -1;
	js_emit(&js);
	return 0;
}

static int run(int argc, char **argv)
{
	struct ranges machine, *map = NULL;
	int c;

	while ((c = getopt(argc, argv, "m:")) != -1) {
		if (c != 'm')
			return 2;
		map = &machine;
		if (read_map(optarg, map)) {
			fprintf(stderr, "kspawn: %s\n", failure.detail);
			return 2;
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: kspawn check-image [-m MAP] FILE\n");
		return 2;
	}
	status_to(STDOUT_FILENO);
	if (!check(argv[optind], map))
		return 0;
	status_failure(ROLE, "refused");
	return 1;
}

const struct command cmd_check_image = {
	.name = "check-image",
	.arguments = "[-m MAP] FILE",
	.run = run,
};
