/* SPDX-License-Identifier: GPL-2.0-only */
/* What the normal kernel says of itself for readers of its memory. */
#ifndef VMCOREINFO_H
#define VMCOREINFO_H

#include "handoff.h"

#define MAX_VMCOREINFO	8192

/* The text of the normal kernel's VMCOREINFO note; its length, or 0. */
size_t read_vmcoreinfo(const struct handoff *ho, char *buf);

#endif
