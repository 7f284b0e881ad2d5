// SPDX-License-Identifier: GPL-2.0-only
/* What a witness said. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit_codes.h"
#include "json.h"
#include "relay.h"
#include "types.h"

int error(int status, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	put_error(stdout, message);
	return fflush(stdout) ? WRONG_USAGE : status;
}

int relay(int fd, int broken, const char *who)
{
	size_t length = 0, size = 0;
	char *text = NULL;

	for (;;) {
		ssize_t n;

		if (length + 2 > size) {
			char *bigger = realloc(text, size += 4096);

			if (!bigger) {
				free(text);
				return error(broken, "no memory");
			}
			text = bigger;
		}
		n = read(fd, text + length, size - length - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			const char *why = n ? strerror(errno) :
					      "it ended without an answer";

			free(text);
			return error(broken, "%s: %s", who, why);
		}
		length += n;
		if (text[length - 1] == '\n')
			break;
	}
	text[length] = 0;
	if (length > 2 && *text >= '0' && *text <= '4') {
		broken = *text - '0';
		if (fputs(text + 2, stdout) == EOF || fflush(stdout))
			broken = UNREACHABLE;
	} else {
		error(broken, "%s: it gave an answer without a status", who);
	}
	free(text);
	return broken;
}
