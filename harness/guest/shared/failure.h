/* SPDX-License-Identifier: GPL-2.0-only */
/* What failed last: a word for programs and a line for people. */
#ifndef FAILURE_H
#define FAILURE_H

struct failure {
	char status[32];
	char detail[256];
};

extern _Thread_local struct failure failure;

int fail(const char *status, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int fail_errno(const char *status, const char *what);

#endif
