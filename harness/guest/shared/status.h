/* SPDX-License-Identifier: GPL-2.0-only */
/* Lines of JSON for the status port: docs/status-port.md. */
#ifndef STATUS_H
#define STATUS_H

#include "ranges.h"

struct json {
	char buf[6144];
	size_t len;
};

void js_begin(struct json *js, const char *role, const char *event);
void js_str(struct json *js, const char *key, const char *value);
void js_num(struct json *js, const char *key, u64 value);
void js_ranges(struct json *js, const char *key, const struct ranges *ranges);
void js_emit(struct json *js);
int status_open(const char *path, bool must);
void status_to(int fd);
void status(const char *role, const char *event);
void status_failure(const char *role, const char *event);

#endif
