/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether this kernel counts on what its free pages hold: zeros with
 * init_on_free, a pattern with page poisoning.
 */
#ifndef FREE_CONTENT_H
#define FREE_CONTENT_H

#include "handoff.h"

void free_content(struct handoff *ho);

#endif
