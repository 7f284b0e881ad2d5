/* SPDX-License-Identifier: GPL-2.0-only */
/* What the resuming kernel does. */
#ifndef RESUMING_H
#define RESUMING_H

#include "boot_options.h"

void run_resuming(const struct boot_options *o);

#endif
