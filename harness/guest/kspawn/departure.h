/* SPDX-License-Identifier: GPL-2.0-only */
/* The jump of the normal kernel, and its return. */
#ifndef DEPARTURE_H
#define DEPARTURE_H

#include "handoff.h"

int jump_there(struct handoff *ho, u64 phys, int session, const char **command);
void report_back(const struct handoff *ho, const char *command);

#endif
