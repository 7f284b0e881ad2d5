/* SPDX-License-Identifier: GPL-2.0-only */
/* A child process that holds state of its own, and is asked about it. */
#ifndef HELPER_H
#define HELPER_H

#include <sys/types.h>

#include "types.h"

/* What a helper is asked for first; a witness numbers its own from HELPER_OWN. */
enum { HELPER_CHECK, HELPER_DAMAGE, HELPER_OWN };

/*
 * In a child that was forked off: it has nothing of the witness's sockets, and
 * ends with it. To be called again after a change of ids, which undoes the last.
 */
void leave_parent(void);

/* Shared with the child. */
struct helper_page {
	_Atomic uint32_t order, answer;
	int what;
	bool good;
	char detail[DETAIL];
	char missing[DETAIL];
	int64_t value[16];	/* the witness's own */
};

struct helper {
	pid_t pid;
	struct helper_page *page;
};

/*
 * Forks. prepare() makes the state, in the child; it may die(), or call
 * not_here(): then there is no child, and the witness is left out. serve()
 * answers each request, in the child. False: not here.
 */
bool helper_start(struct helper *helper, void (*prepare)(struct helper_page *),
		  bool (*serve)(struct helper_page *, int what, char *detail));
bool helper_ask(char *detail, struct helper *helper, int what);
/* For a child that is not to answer again, such as one that was killed. */
void helper_end(struct helper *helper);
void end_helpers(void);

#endif
