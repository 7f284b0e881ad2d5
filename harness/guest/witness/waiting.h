/* SPDX-License-Identifier: GPL-2.0-only */
/* Time, and waiting for another thread or process. */
#ifndef WAITING_H
#define WAITING_H

#include "types.h"

#include <time.h>

int64_t now(clockid_t clock);
/* Waits for PATIENCE seconds at most. */
bool wait_until(_Atomic uint32_t *word, uint32_t value);
/* Waits for ever. */
void wait_change(_Atomic uint32_t *word, uint32_t value);
void post(_Atomic uint32_t *word, uint32_t value);

#endif
