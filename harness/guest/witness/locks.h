/* SPDX-License-Identifier: GPL-2.0-only */
/* A process that holds a lock of a file, and another one that tries to take it. */
#ifndef LOCKS_H
#define LOCKS_H

int locks(int argc, char **argv);

#endif
