/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a witness is reached. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <sys/un.h>

int address(struct sockaddr_un *un);

#endif
