/* SPDX-License-Identifier: GPL-2.0-only */
/* The server through which a witness is asked. */
#ifndef SERVER_H
#define SERVER_H

#include "types.h"

int listen_socket(void);
_Noreturn void serve(int listener);
/* Ends what would outlive the process, its socket included. */
void clean_up(void);
void put_id(FILE *out);

#endif
