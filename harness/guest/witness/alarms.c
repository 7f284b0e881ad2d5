// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process with a timer of each clock that is to go off after a time, in which
 * the machine may be off: which of them did says which clocks count that time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "alarms.h"
#include "exit_codes.h"
#include "relay.h"
#include "types.h"

#define STATE	"/run/witness.alarms"

static const struct {
	const char *name;
	clockid_t clock;
	bool absolute;
} timers[] = {
	{ "monotonic", CLOCK_MONOTONIC, false },
	{ "boottime", CLOCK_BOOTTIME, false },
	{ "realtime", CLOCK_REALTIME, true },
	{ "boottime-alarm", CLOCK_BOOTTIME_ALARM, false },
	{ "realtime-alarm", CLOCK_REALTIME_ALARM, true },
};

/* Arms one; -1 where this kernel or machine cannot hold it. */
static int arm(size_t i, long seconds)
{
	struct itimerspec when = { .it_value.tv_sec = seconds };
	int fd = timerfd_create(timers[i].clock, TFD_CLOEXEC);
	struct timespec now;

	if (fd < 0)
		return -1;
	if (timers[i].absolute) {
		if (clock_gettime(CLOCK_REALTIME, &now))
			return -1;
		when.it_value.tv_sec += now.tv_sec;
		when.it_value.tv_nsec = now.tv_nsec;
	}
	if (timerfd_settime(fd, timers[i].absolute ? TFD_TIMER_ABSTIME : 0, &when, NULL)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Notes each one that goes off, a line each, until all did. */
static _Noreturn void wait_for_all(struct pollfd *fds, int state)
{
	uint64_t times;

	for (;;) {
		bool waits = false;

		for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
			waits |= fds[i].fd >= 0;
		if (!waits)
			_exit(0);
		if (poll(fds, ARRAY_SIZE(timers), -1) < 0 && errno != EINTR)
			_exit(1);
		for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
			if (fds[i].fd < 0 || !(fds[i].revents & POLLIN))
				continue;
			if (read(fds[i].fd, &times, sizeof(times)) != sizeof(times) ||
			    dprintf(state, "%s\n", timers[i].name) < 0)
				_exit(1);
			if (close(fds[i].fd))
				_exit(1);
			fds[i].fd = -1;
		}
	}
}

/* alarms SECONDS: says which are armed; what goes off is in STATE, a line each. */
int alarms(int argc, char **argv)
{
	struct pollfd fds[ARRAY_SIZE(timers)];
	char *end = "?";
	long seconds;
	int state, null;
	pid_t pid;

	seconds = argc == 1 ? strtol(argv[0], &end, 10) : 0;
	if (*end || seconds <= 0)
		return WRONG_USAGE;
	state = open(STATE, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (state < 0)
		return error(UNREACHABLE, "%s: %s", STATE, strerror(errno));
	printf("{\"armed\": [");
	for (size_t i = 0, n = 0; i < ARRAY_SIZE(timers); i++) {
		fds[i] = (struct pollfd){ .fd = arm(i, seconds), .events = POLLIN };
		if (fds[i].fd >= 0)
			printf("%s\"%s\"", n++ ? ", " : "", timers[i].name);
	}
	printf("]}\n");
	if (fflush(stdout))
		return error(UNREACHABLE, "stdout: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return error(UNREACHABLE, "fork: %s", strerror(errno));
	if (pid)
		return GOOD;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || setsid() < 0)
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			_exit(1);
	wait_for_all(fds, state);
}
