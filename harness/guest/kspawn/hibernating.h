/* SPDX-License-Identifier: GPL-2.0-only */
/* What the hibernating kernel does. */
#ifndef HIBERNATING_H
#define HIBERNATING_H

#include "boot_options.h"

void run_hibernating(const struct boot_options *o);

#endif
