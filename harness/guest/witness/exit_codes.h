/* SPDX-License-Identifier: GPL-2.0-only */
/* How the program ends, and what begins an answer of the witness. */
#ifndef EXIT_CODES_H
#define EXIT_CODES_H

enum {
	GOOD,
	CHECK_FAILED,
	WRONG_USAGE,
	SETUP_FAILED,
	UNREACHABLE,
};

#endif
