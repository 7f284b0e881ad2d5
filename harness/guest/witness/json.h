/* SPDX-License-Identifier: GPL-2.0-only */
/* Pieces of JSON. */
#ifndef JSON_H
#define JSON_H

#include "types.h"

void put_string(FILE *out, const char *string);
void put_error(FILE *out, const char *message);

#endif
