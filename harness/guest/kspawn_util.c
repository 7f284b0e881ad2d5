// SPDX-License-Identifier: GPL-2.0-only
/* What all roles use: failures, status lines, memory maps, checksums. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "kspawn.h"

struct failure failure;

int fail(const char *status_word, const char *fmt, ...)
{
	va_list args;

	snprintf(failure.status, sizeof(failure.status), "%s", status_word);
	va_start(args, fmt);
	vsnprintf(failure.detail, sizeof(failure.detail), fmt, args);
	va_end(args);
	return -1;
}

int fail_errno(const char *status_word, const char *what)
{
	return fail(status_word, "%s: %s", what, strerror(errno));
}

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

int read_text(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail_errno("no-file", path);
	while (len < size - 1) {
		ssize_t n = read(fd, buf + len, size - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail_errno("no-file", path);
			close(fd);
			return -1;
		}
		if (!n)
			break;
		len += n;
	}
	buf[len] = 0;
	if (close(fd))
		return fail_errno("no-file", path);
	return 0;
}

static int add_range(struct ranges *ranges, u64 start, u64 end)
{
	struct range *last = ranges->nr ? &ranges->r[ranges->nr - 1] : NULL;

	for (u32 i = 0; i < ranges->nr; i++)
		/* A block that was hot-added has an entry in both maps. */
		if (start >= ranges->r[i].start && end <= ranges->r[i].end)
			return 0;
	if (last && last->end == start) {
		last->end = end;
		return 0;
	}
	if (ranges->nr == MAX_RANGES)
		return fail("too-many-ranges", "more than %d ranges of memory",
			    MAX_RANGES);
	ranges->r[ranges->nr++] = (struct range){ start, end };
	return 0;
}

int read_iomem(const char *name, struct ranges *ranges)
{
	char line[256];
	unsigned long long start, end;
	int used, err = 0;
	FILE *f = fopen("/proc/iomem", "re");

	ranges->nr = 0;
	if (!f)
		return fail_errno("no-file", "/proc/iomem");
	while (!err && fgets(line, sizeof(line), f)) {
		/* Children are indented: only the top level counts. */
		if (sscanf(line, "%llx-%llx : %n", &start, &end, &used) != 2 ||
		    line[0] == ' ')
			continue;
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line + used, name))
			err = add_range(ranges, start, end + 1);
	}
	if (fclose(f) && !err)
		return fail_errno("no-file", "/proc/iomem");
	return err;
}

int read_firmware_map(struct ranges *ranges)
{
	char path[80], text[64];
	unsigned long long start, end;

	ranges->nr = 0;
	for (int i = 0;; i++) {
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/type", i);
		if (access(path, R_OK))
			break;
		if (read_text(path, text, sizeof(text)))
			return -1;
		if (strncmp(text, "System RAM", 10))
			continue;
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/start", i);
		if (read_text(path, text, sizeof(text)))
			return -1;
		start = strtoull(text, NULL, 16);
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/end", i);
		if (read_text(path, text, sizeof(text)))
			return -1;
		end = strtoull(text, NULL, 16);
		if (add_range(ranges, start, end + 1))
			return -1;
	}
	return 0;
}

bool ranges_equal(const struct ranges *a, const struct ranges *b)
{
	return a->nr == b->nr &&
	       !memcmp(a->r, b->r, a->nr * sizeof(a->r[0]));
}

u64 ranges_bytes(const struct ranges *ranges)
{
	u64 sum = 0;

	for (u32 i = 0; i < ranges->nr; i++)
		sum += ranges->r[i].end - ranges->r[i].start;
	return sum;
}

void ranges_above(const struct ranges *in, u64 floor, struct ranges *out)
{
	out->nr = 0;
	for (u32 i = 0; i < in->nr; i++) {
		/* Whole pages only: a kernel uses no others. */
		u64 start = (in->r[i].start + PAGE - 1) & ~(PAGE - 1);
		u64 end = in->r[i].end & ~(PAGE - 1);

		if (start < floor)
			start = floor;
		if (start < end)
			out->r[out->nr++] = (struct range){ start, end };
	}
}

u64 monotonic_ms(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		return 0;
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* CRC-32 as in RFC 1952, eight bytes a step: what zlib.crc32() gives. */
u32 crc32_update(u32 crc, const void *data, size_t len)
{
	static u32 table[8][256];
	const u8 *p = data;

	if (!table[0][1]) {
		for (u32 i = 0; i < 256; i++) {
			u32 c = i;

			for (int k = 0; k < 8; k++)
				c = c & 1 ? 0xedb88320U ^ (c >> 1) : c >> 1;
			table[0][i] = c;
		}
		for (u32 i = 0; i < 256; i++)
			for (int k = 1; k < 8; k++)
				table[k][i] = (table[k - 1][i] >> 8) ^
					      table[0][table[k - 1][i] & 0xff];
	}
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		u64 word;
		u32 lo, hi;

		memcpy(&word, p, sizeof(word));
		lo = (u32)word ^ crc;
		hi = word >> 32;
		crc = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^
		      table[5][lo >> 16 & 0xff] ^ table[4][lo >> 24] ^
		      table[3][hi & 0xff] ^ table[2][hi >> 8 & 0xff] ^
		      table[1][hi >> 16 & 0xff] ^ table[0][hi >> 24];
	}
	while (len--)
		crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

u32 handoff_crc(const struct handoff *handoff)
{
	return crc32_update(0, &handoff->vmcoreinfo,
			    offsetof(struct handoff, end) -
			    offsetof(struct handoff, vmcoreinfo));
}
