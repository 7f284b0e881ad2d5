/* SPDX-License-Identifier: GPL-2.0-only */
/* What a witness has made outside of its process, and is not to outlive it. */
#ifndef JANITOR_H
#define JANITOR_H

/*
 * Forks a process that waits for the end of this one, however that comes, and
 * then calls clean(). It has no descriptor of this one.
 */
void janitor(void (*clean)(void));

#endif
