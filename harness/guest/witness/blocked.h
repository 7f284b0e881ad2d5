/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A child that waits in a system call. The freezer takes it out of the call, and
 * it has to be in it again afterwards, as if nothing had been: kernel/signal.c,
 * ERESTARTSYS and its kind.
 */
#ifndef BLOCKED_H
#define BLOCKED_H

#include <sys/types.h>

#include "types.h"

struct blocked_page;

struct blocked {
	long number;			/* of the system call */
	int keep[2];			/* descriptors that the child needs, or 0 */
	int64_t (*block)(void);		/* in the child: what it came back with */
	bool (*wake)(char *detail);	/* in the parent: ends the call */
	int64_t expected;		/* what block() is to return */
	pid_t pid;
	uint32_t rounds;
	struct blocked_page *page;
};

void blocked_start(struct blocked *blocked);
/* It is in the call; it comes back if it is woken; and it is in it again. */
bool blocked_check(char *detail, struct blocked *blocked);
/* It is in the call, and was all the time; for what can be woken only once. */
bool blocked_still(char *detail, struct blocked *blocked);
/* Wakes it behind the back of the check. */
bool blocked_damage(char *detail, struct blocked *blocked);
void blocked_end(struct blocked *blocked);

#endif
