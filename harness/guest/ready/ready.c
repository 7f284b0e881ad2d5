// SPDX-License-Identifier: GPL-2.0-only
/*
 * Says "ready" on the status port, once sshd listens: which kernel runs, and by
 * which key it is known.
 *
 * Not a script: an emulated CPU takes 20 ms for each program that one starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/utsname.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS	"/proc/net/tcp"
#define HOST_KEY "/run/hostkey"
#define BOOT_ID	"/proc/sys/kernel/random/boot_id"
/* Port 22 (0x16) of any address, in the state LISTEN (0A). */
#define LISTENS	"00000000:0016 00000000:0000 0A"
#define KIND	"ssh-ed25519"
#define SECRET_BYTES 32
#define PUBLIC_BYTES 32
/*
 * Strings of the SSH protocol (RFC 4251) have their length before them. dropbear's
 * file has the kind, and one string of both halves; a public key has only its own.
 */
#define FILE_HEAD "\0\0\0\013" KIND "\0\0\0\100"
#define BLOB_HEAD "\0\0\0\013" KIND "\0\0\0\040"
#define HEAD_BYTES (sizeof(FILE_HEAD) - 1)
#define POLL_NS	5000000L

static void die(const char *what)
{
	fprintf(stderr, "ready: %s: %s\n", what, strerror(errno));
	exit(1);
}

static size_t read_file(const char *path, void *data, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		die(path);
	while (len < size) {
		ssize_t n = read(fd, (char *)data + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			die(path);
		if (!n)
			break;
		len += n;
	}
	if (close(fd))
		die(path);
	return len;
}

static void wait_for_sshd(void)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	static char text[65536];

	for (;;) {
		text[read_file(SOCKETS, text, sizeof(text) - 1)] = '\0';
		if (strstr(text, LISTENS))
			return;
		if (nanosleep(&pause, NULL) && errno != EINTR)
			die("nanosleep");
	}
}

static void base64(const unsigned char *data, size_t len, char *text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = data[i] << 16;

		if (i + 1 < len)
			bits |= data[i + 1] << 8;
		if (i + 2 < len)
			bits |= data[i + 2];
		*text++ = digits[bits >> 18];
		*text++ = digits[bits >> 12 & 63];
		*text++ = i + 1 < len ? digits[bits >> 6 & 63] : '=';
		*text++ = i + 2 < len ? digits[bits & 63] : '=';
	}
	*text = '\0';
}

/* The public half of sshd's key, as known_hosts has it without its kind. */
static void host_key(char *text)
{
	unsigned char file[HEAD_BYTES + SECRET_BYTES + PUBLIC_BYTES];
	unsigned char blob[HEAD_BYTES + PUBLIC_BYTES];

	if (read_file(HOST_KEY, file, sizeof(file)) != sizeof(file) ||
	    memcmp(file, FILE_HEAD, HEAD_BYTES)) {
		errno = EINVAL;
		die(HOST_KEY);
	}
	memcpy(blob, BLOB_HEAD, HEAD_BYTES);
	memcpy(blob + HEAD_BYTES, file + HEAD_BYTES + SECRET_BYTES, PUBLIC_BYTES);
	base64(blob, sizeof(blob), text);
}

static void say(const char *port, const char *line, size_t len)
{
	int fd = open(port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios tio;

	if (fd < 0 || tcgetattr(fd, &tio))
		die(port);
	cfmakeraw(&tio);
	if (cfsetspeed(&tio, B115200) || tcsetattr(fd, TCSANOW, &tio))
		die(port);
	if (write(fd, line, len) != (ssize_t)len || close(fd))
		die(port);
}

int main(int argc, char **argv)
{
	char line[512], key[128], boot_id[64];
	struct utsname name;
	struct timespec up;
	int len;

	if (argc != 2) {
		fprintf(stderr, "usage: ready PORT\n");
		return 2;
	}
	wait_for_sshd();
	host_key(key);
	boot_id[read_file(BOOT_ID, boot_id, sizeof(boot_id) - 1)] = '\0';
	boot_id[strcspn(boot_id, "\n")] = '\0';
	if (uname(&name) || clock_gettime(CLOCK_BOOTTIME, &up))
		die("this kernel");
	len = snprintf(line, sizeof(line),
		       "{\"role\": \"normal\", \"event\": \"ready\", \"release\": \"%s\", "
		       "\"boot_id\": \"%s\", \"hostkey\": \"" KIND " %s\", "
		       "\"uptime\": \"%lld.%02ld\"}\n",
		       name.release, boot_id, key, (long long)up.tv_sec,
		       up.tv_nsec / 10000000);
	if (len < 0 || (size_t)len >= sizeof(line)) {
		errno = EOVERFLOW;
		die(argv[1]);
	}
	say(argv[1], line, len);
	return 0;
}
