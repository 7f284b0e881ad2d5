/* SPDX-License-Identifier: GPL-2.0-only */
/* A cgroup of version 2, for a helper alone; nothing of it stays behind. */
#ifndef CGROUP_H
#define CGROUP_H

#include "types.h"

/* In the helper, which then is in it as its directory. False: not here. */
bool make_cgroup(const char *name);
/* Is there such a line in the file? */
bool cgroup_says(const char *file, const char *line);

#endif
