// SPDX-License-Identifier: GPL-2.0-only
/* Pieces of JSON. */
#include <stdio.h>

#include "json.h"

void put_string(FILE *out, const char *string)
{
	putc('"', out);
	for (; *string; string++) {
		unsigned char c = *string;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ')
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

void put_error(FILE *out, const char *message)
{
	fputs("{\"error\": ", out);
	put_string(out, message);
	fputs("}\n", out);
}
