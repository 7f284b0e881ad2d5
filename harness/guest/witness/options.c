// SPDX-License-Identifier: GPL-2.0-only
/* What the command line said. */
#include "options.h"

struct options options = {
	.mebibytes = 64,
	.dir = "/tmp",
	.socket = "/run/witness.sock",
	.spin = true,
	.systemwide = true,
};
