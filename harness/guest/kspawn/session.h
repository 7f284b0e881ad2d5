/* SPDX-License-Identifier: GPL-2.0-only */
/* The connection over which a command was called. */
#ifndef SESSION_H
#define SESSION_H

int session_of_caller(void);
void session_ended(int session);

#endif
