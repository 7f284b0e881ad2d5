/* SPDX-License-Identifier: GPL-2.0-only */
/* What the normal kernel knows of itself, for the handoff. */
#ifndef HANDOFF_FILL_H
#define HANDOFF_FILL_H

#include "handoff.h"

/* What is free by the kernel's own count: as late as can be. */
void count_free(struct handoff *ho);
int fill_handoff(struct handoff *ho);

#endif
