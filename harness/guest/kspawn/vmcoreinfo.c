// SPDX-License-Identifier: GPL-2.0-only
/* The VMCOREINFO note of the normal kernel, read in its memory. */
#include <elf.h>

#include "backup.h"
#include "handoff.h"
#include "image_format.h"
#include "types.h"
#include "vmcoreinfo.h"

size_t read_vmcoreinfo(const struct handoff *ho, char *buf)
{
	size_t size = MIN(ho->vmcoreinfo_size, MAX_VMCOREINFO);
	Elf64_Nhdr nhdr;
	size_t head;

	if (!ho->vmcoreinfo || normal_read(ho->vmcoreinfo, &nhdr, sizeof(nhdr)))
		return 0;
	head = sizeof(nhdr) + pad4(nhdr.n_namesz);
	if (nhdr.n_namesz != sizeof("VMCOREINFO") ||
	    head + nhdr.n_descsz > size)
		return 0;
	return normal_read(ho->vmcoreinfo + head, buf, nhdr.n_descsz) ?
		       0 : nhdr.n_descsz;
}
