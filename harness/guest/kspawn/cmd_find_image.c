// SPDX-License-Identifier: GPL-2.0-only
/* Whether there is an image that could be resumed here; its header only. */
#include <stdio.h>
#include <unistd.h>

#include "commands.h"
#include "failure.h"
#include "image.h"
#include "image_stats.h"
#include "status.h"
#include "this_kernel.h"

static int run(int argc, char **argv)
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
	image = image_open(disk, NULL);
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

const struct command cmd_find_image = {
	.name = "find-image",
	.arguments = "[-d DISK] [-s STATUS]",
	.run = run,
};
