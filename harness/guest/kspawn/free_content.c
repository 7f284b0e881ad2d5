// SPDX-License-Identifier: GPL-2.0-only
/* What a kernel counts on in its free pages: its options and its log tell. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "free_content.h"
#include "handoff.h"

/* The last value of an option on the kernel's command line. */
static bool kernel_option(const char *cmdline, const char *key, char *value,
			  size_t size)
{
	size_t len = strlen(key);
	bool found = false;

	for (const char *at = cmdline; (at = strstr(at, key)); at += len) {
		if ((at != cmdline && at[-1] != ' ') || at[len] != '=')
			continue;
		snprintf(value, size, "%.*s",
			 (int)strcspn(at + len + 1, " \n"), at + len + 1);
		found = true;
	}
	return found;
}

/* Off as kstrtobool() of the kernel takes it; what is no bool is not. */
static bool option_off(const char *value)
{
	return (value[0] && strchr("0nNfF", value[0])) ||
	       !strncasecmp(value, "off", 3);
}

/* What the kernel said at boot: "off", "on", or nothing that is still there. */
static int boot_log_init_on_free(char *said, size_t size)
{
	static char record[8192];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	snprintf(said, size, "unknown");
	if (fd < 0)
		return fail_errno("no-log", "/dev/kmsg");
	/* A record a read; EPIPE is one that was overwritten meanwhile. */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && (errno == EPIPE || errno == EINTR))) {
		char *text, *heap;

		if (n < 0)
			continue;
		record[n] = 0;
		text = strchr(record, ';');
		/* Facility 0: of the kernel, and not of who wrote to it. */
		if (!text || strtoul(record, NULL, 10) > 7 ||
		    strncmp(text + 1, "mem auto-init: ", 15))
			continue;
		if (strstr(text, "PAGE_POISONING is on")) {
			snprintf(said, size, "page poisoning is on");
			break;
		}
		heap = strstr(text, "heap free:");
		if (heap)
			snprintf(said, size, "%.*s", (int)strcspn(heap + 10, "\n"),
				 heap + 10);
	}
	if (close(fd))
		return fail_errno("no-log", "close");
	return 0;
}

/*
 * Whether this kernel counts on what its free pages hold: zeros with
 * init_on_free, a pattern with page poisoning.  It does not look at such a page
 * again before it hands it out, so one that is not in the image must not come
 * back as anything else. Commit 18451f9f9e58 mended that in swsusp. Whoever
 * cannot tell says yes: all pages are kept then.
 */
void free_content(struct handoff *ho)
{
	char cmdline[4096], value[32], said[24];

	ho->free_matters = 1;
	if (read_text("/proc/cmdline", cmdline, sizeof(cmdline))) {
		snprintf(ho->free_why, sizeof(ho->free_why),
			 "its command line cannot be read");
		return;
	}
	if (kernel_option(cmdline, "page_poison", value, sizeof(value)) &&
	    !option_off(value)) {
		snprintf(ho->free_why, sizeof(ho->free_why), "page_poison=%s",
			 value);
		return;
	}
	/* Said there, it is so, whatever the config has for a default. */
	if (kernel_option(cmdline, "init_on_free", value, sizeof(value))) {
		ho->free_matters = !option_off(value);
		snprintf(ho->free_why, sizeof(ho->free_why), "init_on_free=%s",
			 value);
		return;
	}
	/* The default is a matter of the config: the log tells. */
	if (boot_log_init_on_free(said, sizeof(said))) {
		snprintf(ho->free_why, sizeof(ho->free_why),
			 "its log cannot be read");
		return;
	}
	snprintf(ho->free_why, sizeof(ho->free_why),
		 "its log says of init_on_free: %s", said);
	ho->free_matters = strcmp(said, "off") != 0;
}
