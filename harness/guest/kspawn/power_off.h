/* SPDX-License-Identifier: GPL-2.0-only */
/* The end of a spawned kernel that has done its work. */
#ifndef POWER_OFF_H
#define POWER_OFF_H

#include "boot_options.h"

void power_off(const struct boot_options *o);

#endif
