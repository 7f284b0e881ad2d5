// SPDX-License-Identifier: GPL-2.0-only
/* A pseudo-terminal with input that was typed and not read. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "helper.h"
#include "report.h"
#include "types.h"
#include "witness.h"

static const char typed[] = "typed ahead\nand half a line";
static int master = -1, slave = -1;

static bool type(char *detail)
{
	ssize_t n = write(master, typed, sizeof(typed) - 1);

	return n == sizeof(typed) - 1 ? true : fail_errno(detail, "write");
}

static void pty_arm(void)
{
	struct winsize size = { .ws_row = 43, .ws_col = 117 };
	struct termios settings;
	char detail[DETAIL], path[64];
	int number, unlock = 0;

	master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCGPTN, &number) ||
	    ioctl(master, TIOCSPTLCK, &unlock)) {
		not_here("no pty: %s", strerror(errno));
		return;
	}
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	slave = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (slave < 0) {
		not_here("%s: %s", path, strerror(errno));
		return;
	}
	if (tcgetattr(slave, &settings))
		die_errno("tcgetattr");
	settings.c_lflag &= ~ECHO;
	settings.c_cc[VINTR] = 7;
	if (tcsetattr(slave, TCSANOW, &settings) ||
	    ioctl(master, TIOCSWINSZ, &size))
		die_errno("tcsetattr");
	if (!type(detail))
		die("%s", detail);
}

static bool pty_check(char *detail)
{
	const size_t line = strchr(typed, '\n') - typed + 1;
	struct winsize size;
	struct termios settings;
	char text[64];
	ssize_t n;

	if (tcgetattr(slave, &settings) || ioctl(slave, TIOCGWINSZ, &size))
		return fail_errno(detail, "tcgetattr");
	if (settings.c_lflag & ECHO || settings.c_cc[VINTR] != 7)
		return fail(detail, "other settings");
	if (size.ws_row != 43 || size.ws_col != 117)
		return fail(detail, "%d rows, %d columns", size.ws_row,
			    size.ws_col);
	n = read(slave, text, sizeof(text));
	if (n != (ssize_t)line || memcmp(text, typed, line))
		return fail(detail, "%zd bytes of a line instead of %zu", n, line);
	if (read(slave, text, sizeof(text)) != -1 || errno != EAGAIN)
		return fail(detail, "half a line can be read");
	/* The half line goes with what ends it; all is typed again. */
	if (write(master, "\n", 1) != 1 ||
	    read(slave, text, sizeof(text)) != (ssize_t)(sizeof(typed) - line))
		return fail(detail, "the half line was not there");
	if (!type(detail))
		return false;
	return pass(detail, "a line and a half, %d by %d", size.ws_row,
		    size.ws_col);
}

static bool pty_damage(char *detail)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };

	if (ioctl(master, TIOCSWINSZ, &size))
		return fail_errno(detail, "TIOCSWINSZ");
	return true;
}

WITNESS = {
	.name = "pty",
	.kind = "ipc",
	.holds = "a pty: typed-ahead input, window size, settings",
	.damages = "changes the window size",
	.order = ORDER_MAIN,
	.arm = pty_arm,
	.check = pty_check,
	.damage = pty_damage,
};
