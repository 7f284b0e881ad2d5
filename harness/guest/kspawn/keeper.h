/* SPDX-License-Identifier: GPL-2.0-only */
/* The process that keeps a kernel loaded, to be entered again. */
#ifndef KEEPER_H
#define KEEPER_H

#include "handoff.h"

/* Jumps again at each SIGUSR1, into the kernel that was left; until SIGTERM. */
int keep(struct handoff *ho, u64 phys, int session);
/* Signals that process; SIGTERM: until it is gone. The exit code of a command. */
int signal_keeper(int number);

#endif
