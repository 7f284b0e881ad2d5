/* SPDX-License-Identifier: GPL-2.0-only */
/* Asks a witness. */
#ifndef CLIENT_H
#define CLIENT_H

int ask(const char *request);

#endif
