/* SPDX-License-Identifier: GPL-2.0-only */
/* The page that the handoff is in: locked, and above 16 MiB. */
#ifndef LOCKED_PAGE_H
#define LOCKED_PAGE_H

#include "handoff.h"

struct handoff *handoff_page(u64 *phys);
/* mlock() does not keep compaction from moving a page. */
int check_place(const struct handoff *ho, u64 phys);

#endif
