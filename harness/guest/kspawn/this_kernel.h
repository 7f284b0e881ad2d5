/* SPDX-License-Identifier: GPL-2.0-only */
/* What the running kernel is: for status lines, and for what must agree. */
#ifndef THIS_KERNEL_H
#define THIS_KERNEL_H

#include "status.h"

/* Whether this kernel has page tables of five levels, not four. */
int has_five_levels(bool *five);
/* What kernel this is, on what CPU, and what memory it has. */
void js_kernel(struct json *js);

#endif
