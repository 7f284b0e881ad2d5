/* SPDX-License-Identifier: GPL-2.0-only */
/* Network devices of a helper, in a network namespace of its own. */
#ifndef NETDEVICE_H
#define NETDEVICE_H

#include <net/if.h>

#include "types.h"

/* A socket for ioctls of devices, and the tap device; -1 before make_tap(). */
extern int inet, tap;

struct ifreq named(const char *name);
bool bring_up(const char *name);
/* A namespace with the tap device kspawn-tap. False: it is not here. */
bool make_tap(void);

#endif
