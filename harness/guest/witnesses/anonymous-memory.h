/* SPDX-License-Identifier: GPL-2.0-only */
/* The patterned memory, for those who want to know where it is. */
#ifndef ANONYMOUS_MEMORY_H
#define ANONYMOUS_MEMORY_H

#include "types.h"

size_t anonymous_pages(void);
void *anonymous_page(size_t page);
/* Which page frame holds a page; only root is told. */
bool page_frame(size_t page, uint64_t *pfn);

#endif
