/* SPDX-License-Identifier: GPL-2.0-only */
/* Children of the witness. */
#ifndef CHILD_H
#define CHILD_H

#include <sys/types.h>

/* Kills a child, if there is one, and waits for its end. */
void end_child(pid_t *child);

#endif
