// SPDX-License-Identifier: GPL-2.0-only
/* The end of a spawned kernel. */
#include <unistd.h>

#include "boot_options.h"
#include "failure.h"
#include "kexec.h"
#include "power_off.h"
#include "status.h"

void power_off(const struct boot_options *o)
{
	status(o->role, o->reset ? "reset" : "power-off");
	sync();
	if (do_reboot(o->reset ? REBOOT_CMD_RESTART : REBOOT_CMD_POWER_OFF))
		fail_errno("no-power-off", "reboot");
	status_failure(o->role, "error");
}
