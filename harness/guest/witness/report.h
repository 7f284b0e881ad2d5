/* SPDX-License-Identifier: GPL-2.0-only */
/* How a witness says that something is well, is not, or cannot be. */
#ifndef REPORT_H
#define REPORT_H

#include "types.h"

bool pass(char *detail, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool fail(char *detail, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool fail_errno(char *detail, const char *what);

/* For arm(): this kernel or CPU has no such state, so the witness is left out. */
void not_here(const char *format, ...) __attribute__((format(printf, 1, 2)));
/*
 * Arms a witness. Where that ends by die_errno() for want of a system call, this
 * kernel has no such state: it is not here, and the others go on.
 */
void arm_or_leave_out(void (*arm)(void));
/* What it said last, or NULL; the next call knows nothing of it any more. */
const char *take_not_here(void);

/* Ends the process, and says why to whoever waits for it to be set up. */
_Noreturn void die(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *what);
/* What die() names, such as the witness that is being armed. */
void now_doing(const char *what);
/* Where die() writes to; a process that is forked off closes it. */
void open_report(int fd);
int report(void);
void close_report(void);
/* What die() does at last, in this process only. */
void at_death(void (*action)(void));

#endif
