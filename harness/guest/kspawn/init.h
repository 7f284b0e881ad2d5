/* SPDX-License-Identifier: GPL-2.0-only */
/* init of the spawned kernels. */
#ifndef INIT_H
#define INIT_H

void spawned_init(void) __attribute__((noreturn));

#endif
