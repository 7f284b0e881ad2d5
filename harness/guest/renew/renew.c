// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run by init of a normal kernel that is to be started many times from one state.
 *
 * It says "warm" and waits: here the host keeps the state of the machine. Each
 * machine that is started from it is then told what no other one has: random
 * bytes, the host key, and the key that may log in. The time is read from the RTC,
 * which went on meanwhile.
 *
 * Before that it may be told to run a command, and says "armed": there the state is kept
 * of a machine that has done more, and still has nothing of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/rtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SEED_BYTES 32
#define HOST_KEY_BYTES 64
/* A seed and a host key in hexadecimal digits, a space, a public key. */
#define DIGITS (2 * (SEED_BYTES + HOST_KEY_BYTES))
#define LINE_MAX_BYTES 1024
/* A line with a command begins so; what the command says goes there. */
#define RUN "run "
#define OUTPUT "/run/armed"
/* What dropbear has before both halves of a key in its file. */
#define HOST_KEY_HEAD "\0\0\0\013ssh-ed25519\0\0\0\100"

static void die(const char *what)
{
	fprintf(stderr, "renew: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_port(const char *path)
{
	struct termios tio;
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &tio))
		die(path);
	tio.c_iflag = 0;
	tio.c_oflag = 0;
	tio.c_lflag = 0;
	tio.c_cc[VMIN] = 1;
	tio.c_cc[VTIME] = 0;
	if (tcsetattr(fd, TCSANOW, &tio))
		die(path);
	return fd;
}

static void say(int port, const char *event, int code)
{
	struct timespec up;
	char line[128];
	int len;

	if (clock_gettime(CLOCK_MONOTONIC, &up))
		die("clock_gettime");
	len = snprintf(line, sizeof(line),
		       "{\"role\": \"normal\", \"event\": \"%s\", \"exit\": %d, \"uptime\": \"%lld.%02ld\"}\n",
		       event, code, (long long)up.tv_sec, up.tv_nsec / 10000000);
	if (write(port, line, len) != len)
		die("status port");
}

/* Reads a line with its end; returns its length. */
static size_t read_line(int port, char *line, size_t size)
{
	size_t len = 0;
	char c = 0;

	while (c != '\n') {
		ssize_t n = read(port, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != 1)
			die("status port");
		if (len + 1 == size) {
			errno = E2BIG;
			die("status port");
		}
		line[len++] = c;
	}
	line[len] = '\0';
	return len;
}

static void take_bytes(const char *hex, unsigned char *bytes, size_t size)
{
	unsigned int byte;

	for (size_t i = 0; i < size; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1) {
			errno = EINVAL;
			die("status port");
		}
		bytes[i] = byte;
	}
}

/* random(4): what is written is mixed in, the ioctls count it and use it. */
static void take_seed(const char *hex)
{
	struct {
		struct rand_pool_info info;
		unsigned char bytes[SEED_BYTES];
	} pool = { .info = { SEED_BYTES * 8, SEED_BYTES } };
	int fd = open("/dev/random", O_RDWR | O_CLOEXEC);

	take_bytes(hex, pool.bytes, sizeof(pool.bytes));
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) ||
	    ioctl(fd, RNDRESEEDCRNG))
		die("/dev/random");
	if (close(fd))
		die("/dev/random");
}

static void set_time(void)
{
	struct rtc_time rtc;
	struct tm tm = { 0 };
	struct timeval now = { 0 };
	int fd = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);

	/* A kernel without one has had no time of day before either. */
	if (fd < 0)
		return;
	if (ioctl(fd, RTC_RD_TIME, &rtc))
		die("/dev/rtc0");
	tm.tm_sec = rtc.tm_sec;
	tm.tm_min = rtc.tm_min;
	tm.tm_hour = rtc.tm_hour;
	tm.tm_mday = rtc.tm_mday;
	tm.tm_mon = rtc.tm_mon;
	tm.tm_year = rtc.tm_year;
	now.tv_sec = timegm(&tm);
	if (settimeofday(&now, NULL))
		die("settimeofday");
	if (close(fd))
		die("/dev/rtc0");
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len || close(fd))
		die(path);
}

/* The host made it: that takes dropbearkey as long as all the rest takes here. */
static void write_host_key(const char *hex)
{
	unsigned char file[sizeof(HOST_KEY_HEAD) - 1 + HOST_KEY_BYTES] = HOST_KEY_HEAD;

	take_bytes(hex, file + sizeof(HOST_KEY_HEAD) - 1, HOST_KEY_BYTES);
	write_file("/run/hostkey", file, sizeof(file));
}

static void become(const char *command)
{
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int out = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (in < 0 || out < 0 || dup2(in, STDIN_FILENO) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0)
		die(OUTPUT);
	execl("/bin/sh", "sh", "-c", command, NULL);
	die("/bin/sh");
}

/* Runs a command to its end; returns its exit code. */
static int run(const char *command)
{
	pid_t pid = fork();
	int wstatus;

	if (pid < 0)
		die("fork");
	if (!pid)
		become(command);
	while (waitpid(pid, &wstatus, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus);
}

int main(int argc, char **argv)
{
	char line[LINE_MAX_BYTES];
	size_t len;
	int port;

	if (argc != 2) {
		fprintf(stderr, "usage: renew PORT\n");
		return 2;
	}
	port = open_port(argv[1]);
	say(port, "warm", 0);
	for (;;) {
		len = read_line(port, line, sizeof(line));
		if (strncmp(line, RUN, sizeof(RUN) - 1))
			break;
		line[len - 1] = '\0';
		say(port, "armed", run(line + sizeof(RUN) - 1));
	}
	if (strspn(line, "0123456789abcdef") != DIGITS || line[DIGITS] != ' ') {
		errno = EINVAL;
		die("status port");
	}
	take_seed(line);
	set_time();
	write_host_key(line + 2 * SEED_BYTES);
	write_file("/root/.ssh/authorized_keys", line + DIGITS + 1,
		   len - DIGITS - 1);
	return 0;
}
