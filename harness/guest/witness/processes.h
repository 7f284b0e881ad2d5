/* SPDX-License-Identifier: GPL-2.0-only */
/* The command "witness processes": what /proc says of all of them. */
#ifndef PROCESSES_H
#define PROCESSES_H

int processes(void);

#endif
