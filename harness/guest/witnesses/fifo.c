// SPDX-License-Identifier: GPL-2.0-only
/* A FIFO that has a name, opened at both ends. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flight.h"
#include "helper.h"
#include "pattern.h"
#include "report.h"
#include "scratch.h"
#include "types.h"
#include "witness.h"

#define BYTES	777

static int in = -1, out = -1;
static char path[PATH_MAX];

static void fifo_arm(void)
{
	char buffer[BYTES], detail[DETAIL];

	file_name(path, "fifo");
	if (mkfifo(path, 0600))
		die_errno(path);
	in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	out = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (in < 0 || out < 0)
		die_errno(path);
	fill(buffer, BYTES, salt("fifo", 0), 0);
	if (!put_bytes(detail, out, buffer, BYTES))
		die("%s", detail);
}

static bool fifo_check(char *detail)
{
	struct stat st, named;

	if (fstat(in, &st) || stat(path, &named))
		return fail_errno(detail, path);
	if (st.st_ino != named.st_ino || !S_ISFIFO(st.st_mode))
		return fail(detail, "its name is another one's");
	if (!check_bytes(detail, in, out, BYTES, salt("fifo", 0)))
		return false;
	return pass(detail, "%d bytes in flight", BYTES);
}

static bool fifo_damage(char *detail)
{
	return damage_bytes(detail, in, out, BYTES);
}

static void fifo_end(void)
{
	if (in >= 0)
		unlink(path);
}

WITNESS = {
	.name = "fifo",
	.kind = "ipc",
	.holds = "a named FIFO with bytes in it",
	.damages = "flips a bit of them",
	.order = ORDER_MAIN,
	.arm = fifo_arm,
	.check = fifo_check,
	.damage = fifo_damage,
	.end = fifo_end,
};
