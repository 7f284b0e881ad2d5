/* SPDX-License-Identifier: GPL-2.0-only */
/* What a witness said, passed on to the standard output. */
#ifndef RELAY_H
#define RELAY_H

int error(int status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Prints the JSON after "<status> " and returns the status. */
int relay(int fd, int broken, const char *who);

#endif
