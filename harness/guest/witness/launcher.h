/* SPDX-License-Identifier: GPL-2.0-only */
/* Starts a witness. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

int run(void);

#endif
