// SPDX-License-Identifier: GPL-2.0-only
/* init of the spawned kernels. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "boot_options.h"
#include "failure.h"
#include "hibernating.h"
#include "init.h"
#include "physical.h"
#include "resuming.h"
#include "shell.h"
#include "status.h"
#include "this_kernel.h"

static int mounts(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL) ||
	    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL))
		return fail_errno("no-mount", "mount");
	return 0;
}

static void report_init(const struct boot_options *o)
{
	struct json js;

	js_begin(&js, o->role, "init");
	js_kernel(&js);
	js_num(&js, "entry", o->entry);
	js_str(&js, "dev_mem", dev_mem_state());
	/* What is not there is not used, by whatever mistake. */
	if (o->no_dev_mem && unlink("/dev/mem"))
		js_str(&js, "dev_mem_error", strerror(errno));
	js_num(&js, "dev_mem_there", !access("/dev/mem", F_OK));
	js_emit(&js);
}

void spawned_init(void)
{
	struct boot_options o;

	if (!mounts() && !status_open("/dev/ttyS1", true) && !parse_cmdline(&o)) {
		report_init(&o);
		if (o.shell)
			spawned_shell(o.role, o.entry);
		if (!strcmp(o.fault, "panic"))
			exit(1);
		if (!strcmp(o.fault, "hang"))
			for (;;)
				pause();
		if (!strcmp(o.role, "resuming"))
			run_resuming(&o);
		else
			run_hibernating(&o);
	} else {
		status_failure("spawned", "error");
	}
	/* init does not end: what went wrong was said, and the harness acts. */
	for (;;)
		pause();
}
