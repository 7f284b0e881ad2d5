/* SPDX-License-Identifier: GPL-2.0-only */
/* What a witness writes to its launcher and its clients: "<status> <JSON>" */
#ifndef ANSWER_H
#define ANSWER_H

#include "types.h"

struct answer {
	FILE *stream;
	char *text;
	size_t length;
};

bool answer_begin(struct answer *answer);
bool answer_send(struct answer *answer, int fd, int status);

#endif
