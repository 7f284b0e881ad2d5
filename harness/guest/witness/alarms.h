/* SPDX-License-Identifier: GPL-2.0-only */
/* A timer of each clock, which go off while nobody may be there. */
#ifndef ALARMS_H
#define ALARMS_H

int alarms(int argc, char **argv);

#endif
