/* SPDX-License-Identifier: GPL-2.0-only */
/* What restore_image() jumps to: a stub, its page tables, zero memory. */
#ifndef SNAPSHOT_STUB_H
#define SNAPSHOT_STUB_H

#include "snapshot_resume.h"

int make_stub(struct resume *r);

#endif
