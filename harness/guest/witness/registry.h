/* SPDX-License-Identifier: GPL-2.0-only */
/* All witnesses of the program, and what each found. */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "types.h"
#include "witness.h"

size_t witness_count(void);
const struct witness *witness_at(size_t i);
bool witness_named(const char *name);
/* Arms those that are wanted. */
void arm_all(void);
/* Ends what would outlive the process. */
void end_all(void);
/* The names of those that are armed, and why the others are not, as JSON. */
void put_armed(FILE *out);
/* Each check, as JSON; whether all are good. */
bool put_checks(FILE *out);
/* Damages the state of a witness; false, and why, if there is none. */
bool damage_one(char *detail, const char *name);
/* Each of them and what it holds: a line each, or JSON. */
void put_list(FILE *out, bool json);

#endif
