/* SPDX-License-Identifier: GPL-2.0-only */
/* The stream that /dev/snapshot takes. */
#ifndef SNAPSHOT_STREAM_H
#define SNAPSHOT_STREAM_H

#include "snapshot_resume.h"

int put_stream(struct resume *r);

#endif
