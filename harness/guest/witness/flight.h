/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytes in flight: there must be so many, and no more. */
#ifndef FLIGHT_H
#define FLIGHT_H

#include <sys/types.h>

#include "types.h"

bool in_flight(char *detail, int fd, int bytes);
/* What was sent is not yet there when send() returns. */
bool await_bytes(char *detail, int fd, int bytes);
bool put_bytes(char *detail, int fd, const void *buffer, ssize_t bytes);
bool get_bytes(char *detail, int fd, void *buffer, ssize_t bytes);
/* Takes all bytes, compares them, and sends them again. */
bool check_bytes(char *detail, int in, int out, int bytes, unsigned int salt);
bool damage_bytes(char *detail, int in, int out, int bytes);

#endif
