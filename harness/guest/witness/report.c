// SPDX-License-Identifier: GPL-2.0-only
/* How a witness says what it found. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer.h"
#include "exit_codes.h"
#include "json.h"
#include "report.h"
#include "types.h"

static const char *doing = "start";
static int report_fd = -1;
static pid_t cleaner;
static void (*last_action)(void);
static char missing[DETAIL];
static jmp_buf *left_out;
static long armer;

bool pass(char *detail, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(detail, DETAIL, format, args);
	va_end(args);
	return true;
}

bool fail(char *detail, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(detail, DETAIL, format, args);
	va_end(args);
	return false;
}

bool fail_errno(char *detail, const char *what)
{
	return fail(detail, "%s: %s", what, strerror(errno));
}

void not_here(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(missing, sizeof(missing), format, args);
	va_end(args);
}

const char *take_not_here(void)
{
	static char taken[DETAIL];

	memcpy(taken, missing, sizeof(taken));
	missing[0] = 0;
	return taken[0] ? taken : NULL;
}

void arm_or_leave_out(void (*arm)(void))
{
	jmp_buf place;

	left_out = &place;
	armer = syscall(SYS_gettid);
	if (!setjmp(place))
		arm();
	left_out = NULL;
}

_Noreturn void die(const char *format, ...)
{
	char message[512], full[640];
	struct answer answer;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	snprintf(full, sizeof(full), "%s: %s", doing, message);
	/* Without a launcher to tell, the exit code has to say it. */
	if (report_fd >= 0 && answer_begin(&answer)) {
		put_error(answer.stream, full);
		answer_send(&answer, report_fd, SETUP_FAILED);
	}
	/* A child that was forked off dies for itself only. */
	if (last_action && getpid() == cleaner)
		last_action();
	_exit(SETUP_FAILED);
}

_Noreturn void die_errno(const char *what)
{
	if (errno == ENOSYS && left_out && syscall(SYS_gettid) == armer) {
		not_here("%s: %s", what, strerror(errno));
		longjmp(*left_out, 1);
	}
	die("%s: %s", what, strerror(errno));
}

void now_doing(const char *what)
{
	doing = what;
}

void open_report(int fd)
{
	report_fd = fd;
}

int report(void)
{
	return report_fd;
}

void close_report(void)
{
	if (report_fd >= 0 && close(report_fd))
		die_errno("close");
	report_fd = -1;
}

void at_death(void (*action)(void))
{
	last_action = action;
	cleaner = getpid();
}
