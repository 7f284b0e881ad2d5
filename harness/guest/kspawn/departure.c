// SPDX-License-Identifier: GPL-2.0-only
/* The jump of the normal kernel, and its return. */
#include "departure.h"
#include "handoff.h"
#include "handoff_fill.h"
#include "held_registers.h"
#include "kexec.h"
#include "locked_page.h"
#include "session.h"
#include "status.h"
#include "types.h"

void report_back(const struct handoff *ho, const char *command)
{
	static const char *const outcomes[] = {
		[OUTCOME_NONE] = "none", [OUTCOME_IMAGE] = "image",
		[OUTCOME_PLAIN] = "plain", [OUTCOME_FAILED] = "failed",
	};
	struct json js;

	js_begin(&js, "normal", "back");
	js_str(&js, "command", command);
	js_str(&js, "register_lost", register_lost() ? register_lost() : "");
	js_str(&js, "pkru_lost", pkru_lost() ? pkru_lost() : "");
	js_str(&js, "outcome", ho->outcome < ARRAY_SIZE(outcomes) ?
			       outcomes[ho->outcome] : "unknown");
	if (ho->outcome == OUTCOME_FAILED) {
		js_str(&js, "status", ho->status);
		js_str(&js, "detail", ho->detail);
	}
	js_emit(&js);
}

int jump_there(struct handoff *ho, u64 phys, int session, const char **command)
{
	/* The caller's connection ends before the network is frozen. */
	session_ended(session);
	/* As late as can be: what ends with the connection frees memory. */
	count_free(ho);
	ho->outcome = OUTCOME_NONE;
	ho->crc = handoff_crc(ho);
	if (check_place(ho, phys))
		return -1;
	status("normal", "jump");
	return kspawn_jump(command);
}
