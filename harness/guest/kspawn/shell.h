/* SPDX-License-Identifier: GPL-2.0-only */
/* A shell in the spawned kernels. */
#ifndef SHELL_H
#define SHELL_H

#include "types.h"

/* Serves commands on a port of its own, until one says to go on. */
void spawned_shell(const char *role, u64 entry);

#endif
