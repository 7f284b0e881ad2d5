/* SPDX-License-Identifier: GPL-2.0-only */
/* What kexec_load(2) says to segments that it must refuse, and to good ones. */
#ifndef IN_PLACE_PROBE_H
#define IN_PLACE_PROBE_H

int in_place_probe(const char *role);

#endif
