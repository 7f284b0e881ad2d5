// SPDX-License-Identifier: GPL-2.0-only
/* What failed last. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

_Thread_local struct failure failure;

int fail(const char *status_word, const char *fmt, ...)
{
	va_list args;

	snprintf(failure.status, sizeof(failure.status), "%s", status_word);
	va_start(args, fmt);
	vsnprintf(failure.detail, sizeof(failure.detail), fmt, args);
	va_end(args);
	return -1;
}

int fail_errno(const char *status_word, const char *what)
{
	return fail(status_word, "%s: %s", what, strerror(errno));
}
