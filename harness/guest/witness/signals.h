/* SPDX-License-Identifier: GPL-2.0-only */
/* Signals that are blocked, and wait to be taken. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "types.h"

#include <signal.h>

/* Before there is a thread: all of them have it blocked then. */
void block_signal(int number);
/* Takes a pending signal; returns its number, or 0 if there is none. */
int take_signal(int number, siginfo_t *info);

#endif
