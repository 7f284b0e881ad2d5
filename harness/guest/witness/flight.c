// SPDX-License-Identifier: GPL-2.0-only
/* Bytes in flight. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "flight.h"
#include "pattern.h"
#include "report.h"
#include "types.h"
#include "waiting.h"

bool in_flight(char *detail, int fd, int bytes)
{
	int there;

	if (ioctl(fd, FIONREAD, &there))
		return fail_errno(detail, "FIONREAD");
	if (there != bytes)
		return fail(detail, "%d bytes instead of %d", there, bytes);
	return true;
}

/* What was sent is not yet there when send() returns. */
bool await_bytes(char *detail, int fd, int bytes)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	int64_t deadline = now(CLOCK_MONOTONIC) + PATIENCE * NSEC;

	while (!in_flight(detail, fd, bytes)) {
		if (now(CLOCK_MONOTONIC) > deadline)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

bool put_bytes(char *detail, int fd, const void *buffer, ssize_t bytes)
{
	ssize_t n = write(fd, buffer, bytes);

	if (n < 0)
		return fail_errno(detail, "write");
	if (n != bytes)
		return fail(detail, "only %zd of %zd bytes were written", n,
			    bytes);
	return true;
}

bool get_bytes(char *detail, int fd, void *buffer, ssize_t bytes)
{
	ssize_t n = read(fd, buffer, bytes);

	if (n < 0)
		return fail_errno(detail, "read");
	if (n != bytes)
		return fail(detail, "only %zd of %zd bytes were read", n,
			    bytes);
	return true;
}

/* Takes all bytes, compares them, and sends them again. */
bool check_bytes(char *detail, int in, int out, int bytes,
			unsigned int salt)
{
	struct difference diff = { 0 };
	char buffer[4096];

	if (!in_flight(detail, in, bytes) ||
	    !get_bytes(detail, in, buffer, bytes) ||
	    !put_bytes(detail, out, buffer, bytes))
		return false;
	compare(&diff, buffer, bytes, salt, 0);
	return diff.differ ? fail_difference(detail, "read", &diff) : true;
}

bool damage_bytes(char *detail, int in, int out, int bytes)
{
	char buffer[4096];

	if (!get_bytes(detail, in, buffer, bytes))
		return false;
	buffer[bytes / 2] ^= 4;
	return put_bytes(detail, out, buffer, bytes) &&
	       await_bytes(detail, in, bytes);
}
