// SPDX-License-Identifier: GPL-2.0-only
/* The handoff. */
#include "crc32.h"
#include "handoff.h"
#include "types.h"

u32 handoff_crc(const struct handoff *handoff)
{
	return crc32_update(0, &handoff->vmcoreinfo,
			    offsetof(struct handoff, end) -
			    offsetof(struct handoff, vmcoreinfo));
}
