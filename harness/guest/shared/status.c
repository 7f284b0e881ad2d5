// SPDX-License-Identifier: GPL-2.0-only
/* Lines of JSON, and the port that they go to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "clock.h"
#include "failure.h"
#include "ranges.h"
#include "status.h"
#include "types.h"

static void js_raw(struct json *js, const char *text)
{
	size_t len = strlen(text);

	/* Room is kept for the end of the line: a long line is cut, not torn. */
	if (js->len + len + 4 > sizeof(js->buf))
		return;
	memcpy(js->buf + js->len, text, len + 1);
	js->len += len;
}

static void js_quoted(struct json *js, const char *text)
{
	char one[8];

	js_raw(js, "\"");
	for (; *text; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			snprintf(one, sizeof(one), "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			snprintf(one, sizeof(one), "\\u%04x", c);
		else
			snprintf(one, sizeof(one), "%c", c);
		js_raw(js, one);
	}
	js_raw(js, "\"");
}

static void js_key(struct json *js, const char *key)
{
	js_raw(js, js->len > 1 ? "," : "");
	js_quoted(js, key);
	js_raw(js, ":");
}

void js_begin(struct json *js, const char *role, const char *event)
{
	js->len = 0;
	js_raw(js, "{");
	js_str(js, "role", role);
	js_str(js, "event", event);
	js_num(js, "ms", monotonic_ms());
}

void js_str(struct json *js, const char *key, const char *value)
{
	js_key(js, key);
	js_quoted(js, value);
}

void js_num(struct json *js, const char *key, u64 value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	js_key(js, key);
	js_raw(js, text);
}

void js_ranges(struct json *js, const char *key, const struct ranges *ranges)
{
	char text[64];

	js_key(js, key);
	js_raw(js, "[");
	for (u32 i = 0; i < ranges->nr; i++) {
		snprintf(text, sizeof(text), "%s[%llu,%llu]", i ? "," : "",
			 (unsigned long long)ranges->r[i].start,
			 (unsigned long long)ranges->r[i].end);
		js_raw(js, text);
	}
	js_raw(js, "]");
}

static int status_fd = -1;

void status_to(int fd)
{
	status_fd = fd;
}

int status_open(const char *path, bool must)
{
	struct termios tio;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return must ? fail_errno("no-status-port", path) : 0;
	if (isatty(fd)) {
		if (tcgetattr(fd, &tio))
			return fail_errno("no-status-port", path);
		tio.c_iflag = 0;
		tio.c_oflag = 0;
		tio.c_lflag = 0;
		if (tcsetattr(fd, TCSANOW, &tio))
			return fail_errno("no-status-port", path);
	}
	status_fd = fd;
	return 0;
}

void js_emit(struct json *js)
{
	const char *p = js->buf;
	size_t left;

	js_raw(js, "}");
	js->buf[js->len++] = '\n';
	if (status_fd < 0)
		return;
	for (left = js->len; left;) {
		ssize_t n = write(status_fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;	/* nobody is left to be told */
		p += n;
		left -= n;
	}
	/* Out of the UART before whatever comes next takes it down. */
	if (isatty(status_fd))
		tcdrain(status_fd);
}

void status(const char *role, const char *event)
{
	struct json js;

	js_begin(&js, role, event);
	js_emit(&js);
}

void status_failure(const char *role, const char *event)
{
	struct json js;

	js_begin(&js, role, event);
	js_str(&js, "status", failure.status);
	js_str(&js, "detail", failure.detail);
	js_emit(&js);
}
