// SPDX-License-Identifier: GPL-2.0-only
/*
 * witness: a process whose state must survive hibernation, and which can
 * tell whether it did.  This file has its command line, and the server through
 * which it is asked.
 *
 * Everything that it says is one line of JSON on the standard output.
 * Exit codes: 0 good, 1 a check failed, 2 wrong usage or request, 3 the
 * witness could not be set up, 4 the witness cannot be reached.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "witness.h"

#define FUTEX_WAIT	0
#define FUTEX_WAKE	1

enum {
	GOOD,
	CHECK_FAILED,
	WRONG_USAGE,
	SETUP_FAILED,
	UNREACHABLE,
};

/* The most that a client waits: every check may need its PATIENCE. */
#define CLIENT_SECONDS	300
#define REQUEST_SECONDS	10
#define REQUEST		128

struct options options = {
	.mebibytes = 64,
	.dir = "/tmp",
	.socket = "/run/witness.sock",
	.spin = true,
};

uint64_t nonce;

/*
 * In the order of their setup.  The child of futex-shared comes first, so that
 * it shares nothing with the checks after it; epoll needs the pipe; identity
 * is last because it pins the main thread, which new threads would inherit.
 */
static const struct check *const table[] = {
	&futex_shared_check,
	&anonymous_check,
	&file_check,
	&unlinked_check,
	&lock_check,
	&pipe_check,
	&epoll_check,
	&eventfd_check,
	&tcp_check,
	&unix_check,
	&signal_check,
	&posix_timer_check,
	&timerfd_check,
	&clock_check,
	&threads_check,
	&registers_check,
	&identity_check,
};

/*
 * What each check found first.  A failed check stays failed: what it consumed
 * may not be what it would put back.
 */
static struct {
	bool failed;
	unsigned int round;
	char detail[DETAIL];
} verdicts[ARRAY_SIZE(table)];

static unsigned int round_number;
static const char *doing = "start";
static int report_fd = -1;
static pid_t witness_pid;
static bool listening;

static bool enabled(size_t i)
{
	return options.spin || table[i] != &registers_check;
}

/* JSON */

static void put_string(FILE *out, const char *string)
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

static void put_error(FILE *out, const char *message)
{
	fputs("{\"error\": ", out);
	put_string(out, message);
	fputs("}\n", out);
}

static int error(int status, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int error(int status, const char *format, ...)
{
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	put_error(stdout, message);
	return fflush(stdout) ? WRONG_USAGE : status;
}

/* What a witness writes to its launcher and its clients: "<status> <JSON>" */
struct answer {
	FILE *stream;
	char *text;
	size_t length;
};

static bool answer_begin(struct answer *answer)
{
	answer->text = NULL;
	answer->stream = open_memstream(&answer->text, &answer->length);
	return answer->stream;
}

static bool answer_send(struct answer *answer, int fd, int status)
{
	char prefix[8];
	size_t done = 0;
	bool sent = false;

	if (fclose(answer->stream))
		goto out;
	snprintf(prefix, sizeof(prefix), "%d ", status);
	if (write(fd, prefix, 2) != 2)
		goto out;
	while (done < answer->length) {
		ssize_t n = write(fd, answer->text + done,
				  answer->length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			goto out;
		done += n;
	}
	sent = true;
out:
	free(answer->text);
	return sent;
}

/* Failures */

static void clean_up(void)
{
	end_child();
	remove_files();
	if (listening)
		unlink(options.socket);
}

_Noreturn void die(const char *format, ...)
{
	char message[512], full[640];
	struct answer answer;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	snprintf(full, sizeof(full), "%s: %s", doing, message);
	/* Without a launcher to tell, the exit code has to say it. */
	if (report_fd >= 0 && answer_begin(&answer)) {
		put_error(answer.stream, full);
		answer_send(&answer, report_fd, SETUP_FAILED);
	}
	/* The child of futex-shared dies for itself only. */
	if (getpid() == witness_pid)
		clean_up();
	_exit(SETUP_FAILED);
}

_Noreturn void die_errno(const char *what)
{
	die("%s: %s", what, strerror(errno));
}

void close_report(void)
{
	if (close(report_fd))
		die_errno("close");
	report_fd = -1;
}

bool pass(char *detail, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(detail, DETAIL, format, args);
	va_end(args);
	return true;
}

bool fail(char *detail, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(detail, DETAIL, format, args);
	va_end(args);
	return false;
}

bool fail_errno(char *detail, const char *what)
{
	return fail(detail, "%s: %s", what, strerror(errno));
}

/* Time and waiting */

int64_t now(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts))
		die_errno("clock_gettime");
	return ts.tv_sec * NSEC + ts.tv_nsec;
}

/* The kernel's own futex, shared: it works among threads and processes. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value,
		       const struct timespec *timeout)
{
	if (syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0) &&
	    errno != EAGAIN && errno != EINTR && errno != ETIMEDOUT)
		die_errno("futex");
}

/* Waits for PATIENCE seconds at most. */
bool wait_until(_Atomic uint32_t *word, uint32_t value)
{
	int64_t deadline = now(CLOCK_MONOTONIC) + PATIENCE * NSEC;

	for (;;) {
		uint32_t current = atomic_load(word);
		int64_t left = deadline - now(CLOCK_MONOTONIC);
		struct timespec timeout = { left / NSEC, left % NSEC };

		if (current == value)
			return true;
		if (left <= 0)
			return false;
		futex_wait(word, current, &timeout);
	}
}

/* Waits for ever. */
void wait_change(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) == value)
		futex_wait(word, value, NULL);
}

void post(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	if (syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 0)
		die_errno("futex");
}

/* Patterns */

static uint64_t pattern(unsigned int salt, size_t word)
{
	return mix(nonce, ((uint64_t)salt << 40) + word);
}

/* Offsets are those in the whole that the buffer is a piece of. */
void fill(void *buffer, size_t bytes, unsigned int salt, size_t offset)
{
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t word = pattern(salt, (offset + i) / 8);
		size_t length = bytes - i < 8 ? bytes - i : 8;

		memcpy((char *)buffer + i, &word, length);
	}
}

void compare(struct difference *diff, const void *buffer, size_t bytes,
	     unsigned int salt, size_t offset)
{
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t expected = pattern(salt, (offset + i) / 8);
		size_t length = bytes - i < 8 ? bytes - i : 8;
		uint64_t is = 0;

		/* Little-endian: this cuts off the bytes after the end. */
		if (length < 8)
			expected &= (1ULL << (8 * length)) - 1;
		memcpy(&is, (const char *)buffer + i, length);
		diff->words++;
		if (is == expected)
			continue;
		if (!diff->differ++) {
			diff->offset = offset + i;
			diff->is = is;
			diff->expected = expected;
		}
	}
}

bool fail_difference(char *detail, const char *what,
		     const struct difference *diff)
{
	return fail(detail,
		    "%s, offset %zu: 0x%016llx instead of 0x%016llx, %zu of %zu words differ",
		    what, diff->offset, (unsigned long long)diff->is,
		    (unsigned long long)diff->expected, diff->differ,
		    diff->words);
}

/* The server */

static int address(struct sockaddr_un *un)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	if (strlen(options.socket) >= sizeof(un->sun_path))
		return -1;
	strcpy(un->sun_path, options.socket);
	return 0;
}

static void put_id(FILE *out)
{
	fprintf(out, "\"pid\": %d, \"nonce\": \"0x%016llx\"", (int)getpid(),
		(unsigned long long)nonce);
}

static int answer_check(FILE *out)
{
	const char *separator = "";
	int status = GOOD;

	round_number++;
	fputc('{', out);
	put_id(out);
	fprintf(out, ", \"round\": %u, \"checks\": [", round_number);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char detail[DETAIL] = "";

		if (!enabled(i))
			continue;
		doing = table[i]->name;
		if (!verdicts[i].failed && !table[i]->check(detail)) {
			verdicts[i].failed = true;
			verdicts[i].round = round_number;
			strcpy(verdicts[i].detail, detail);
		}
		if (verdicts[i].failed)
			status = CHECK_FAILED;
		fprintf(out, "%s{\"name\": ", separator);
		put_string(out, table[i]->name);
		fprintf(out, ", \"ok\": %s, \"detail\": ",
			verdicts[i].failed ? "false" : "true");
		put_string(out, verdicts[i].failed ? verdicts[i].detail :
						     detail);
		if (verdicts[i].failed)
			fprintf(out, ", \"failed_in_round\": %u",
				verdicts[i].round);
		fputc('}', out);
		separator = ", ";
	}
	fputs("]}\n", out);
	return status;
}

static int answer_damage(FILE *out, const char *name)
{
	char detail[DETAIL] = "";

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!enabled(i) || strcmp(table[i]->name, name))
			continue;
		doing = name;
		if (!table[i]->damage(detail)) {
			put_error(out, detail);
			return WRONG_USAGE;
		}
		fputc('{', out);
		put_id(out);
		fputs(", \"damaged\": ", out);
		put_string(out, name);
		fputs("}\n", out);
		return GOOD;
	}
	put_error(out, "no check has this name");
	return WRONG_USAGE;
}

static void put_frame(FILE *out, size_t page)
{
	uint64_t pfn;

	if (page_frame(page, &pfn))
		fprintf(out, "%llu", (unsigned long long)pfn);
	else
		fputs("null", out);
}

static int answer_locate(FILE *out, const char *argument)
{
	unsigned long page;
	uint64_t word;
	char *end;

	errno = 0;
	page = strtoul(argument, &end, 10);
	if (errno || end == argument || *end || page >= anonymous_pages()) {
		put_error(out, "the anonymous memory has no such page");
		return WRONG_USAGE;
	}
	memcpy(&word, anonymous_page(page), sizeof(word));
	fprintf(out, "{\"page\": %lu, \"vaddr\": \"0x%lx\", \"pfn\": ", page,
		(unsigned long)anonymous_page(page));
	put_frame(out, page);
	fprintf(out, ", \"word0\": \"0x%016llx\"}\n", (unsigned long long)word);
	return GOOD;
}

static bool read_request(int fd, char *request)
{
	size_t length = 0;

	while (length < REQUEST) {
		ssize_t n = recv(fd, request + length, 1, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		if (request[length] == '\n') {
			request[length] = 0;
			return true;
		}
		length++;
	}
	return false;
}

/* Returns false when it was asked to stop. */
static bool serve_one(int fd)
{
	struct timeval timeout = { .tv_sec = REQUEST_SECONDS };
	char request[REQUEST], *argument;
	struct answer answer;
	bool go_on = true;
	int status;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout,
		       sizeof(timeout)))
		return true;
	if (!read_request(fd, request) || !answer_begin(&answer))
		return true;
	argument = strchr(request, ' ');
	if (argument)
		*argument++ = 0;
	else
		argument = request + strlen(request);

	if (!strcmp(request, "check")) {
		status = answer_check(answer.stream);
	} else if (!strcmp(request, "locate")) {
		status = answer_locate(answer.stream, argument);
	} else if (!strcmp(request, "damage")) {
		status = answer_damage(answer.stream, argument);
	} else if (!strcmp(request, "stop")) {
		go_on = false;
		clean_up();
		fputc('{', answer.stream);
		put_id(answer.stream);
		fputs(", \"stopped\": true}\n", answer.stream);
		status = GOOD;
	} else {
		put_error(answer.stream, "unknown request");
		status = WRONG_USAGE;
	}
	doing = "server";
	/* A client that went away is no reason for a witness to end. */
	answer_send(&answer, fd, status);
	return go_on;
}

static _Noreturn void serve(int listener)
{
	bool go_on = true;

	while (go_on) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			die_errno("accept");
		}
		go_on = serve_one(fd);
		/* The last one stays open until the witness has ended. */
		if (go_on && close(fd))
			die_errno("close");
	}
	_exit(GOOD);
}

static int listen_socket(void)
{
	struct sockaddr_un un;
	int fd;

	if (address(&un))
		die("the path of the socket is too long");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die_errno("socket");
	if (!connect(fd, (struct sockaddr *)&un, sizeof(un)))
		die("another witness listens on %s", options.socket);
	if (errno == ECONNREFUSED && unlink(options.socket))
		die_errno(options.socket);
	if (bind(fd, (struct sockaddr *)&un, sizeof(un)))
		die_errno(options.socket);
	listening = true;
	if (chmod(options.socket, 0600))
		die_errno(options.socket);
	if (listen(fd, 8))
		die_errno("listen");
	return fd;
}

/* The launcher */

static void detach(void)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0)
		die_errno("/dev/null");
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			die_errno("dup2");
	if (null > 2 && close(null))
		die_errno("close");
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		die_errno("signal");
	if (signal(SIGHUP, SIG_IGN) == SIG_ERR)
		die_errno("signal");
	umask(022);
	if (chdir(options.dir))
		die_errno(options.dir);
}

static void put_ready(FILE *out)
{
	const char *separator = "";
	size_t page = anonymous_pages() / 2;
	uint64_t pfn;

	fputc('{', out);
	put_id(out);
	fputs(", \"checks\": [", out);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!enabled(i))
			continue;
		fputs(separator, out);
		put_string(out, table[i]->name);
		separator = ", ";
	}
	fputs("], \"phys\": ", out);
	if (page_frame(page, &pfn))
		fprintf(out, "{\"page\": %zu, \"pfn\": %llu}", page,
			(unsigned long long)pfn);
	else
		fputs("null", out);
	fputs("}\n", out);
}

static _Noreturn void witness(pid_t launcher_child)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	struct answer answer;
	int listener;

	/* The parent must be the final one before identity looks at it. */
	for (int i = 0; getppid() == launcher_child; i++) {
		if (i == PATIENCE * 1000)
			die("the launcher does not end");
		nanosleep(&nap, NULL);
	}
	witness_pid = getpid();
	detach();
	if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
		die_errno("getrandom");
	listener = listen_socket();
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!enabled(i))
			continue;
		doing = table[i]->name;
		table[i]->setup();
	}
	doing = "server";
	if (!answer_begin(&answer))
		die_errno("open_memstream");
	put_ready(answer.stream);
	if (!answer_send(&answer, report_fd, GOOD))
		die_errno("write");
	close_report();
	serve(listener);
}

/* Prints the JSON after "<status> " and returns the status. */
static int relay(int fd, int broken, const char *who)
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

/*
 * Threads, timers, locks and pending signals do not survive fork(): so the
 * witness detaches first, and sets up its state after that; the launcher
 * waits for it, and ends only when all is set up.
 */
static int run(void)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return error(SETUP_FAILED, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		return error(SETUP_FAILED, "fork: %s", strerror(errno));
	if (!pid) {
		report_fd = fds[1];
		if (close(fds[0]))
			die_errno("close");
		if (setsid() < 0)
			die_errno("setsid");
		pid = getpid();
		switch (fork()) {
		case -1:
			die_errno("fork");
		case 0:
			witness(pid);
		default:
			_exit(0);
		}
	}
	if (close(fds[1]))
		return error(SETUP_FAILED, "close: %s", strerror(errno));
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return error(SETUP_FAILED, "waitpid: %s",
				     strerror(errno));
	return relay(fds[0], SETUP_FAILED, "the witness");
}

/* The client */

static int ask(const char *request)
{
	struct timeval timeout = { .tv_sec = CLIENT_SECONDS };
	struct sockaddr_un un;
	ssize_t length = strlen(request);
	int fd, status;
	char rest;

	if (address(&un))
		return error(WRONG_USAGE, "the path of the socket is too long");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error(UNREACHABLE, "socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)))
		return error(UNREACHABLE, "setsockopt: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)))
		return error(UNREACHABLE, "%s: %s", options.socket,
			     strerror(errno));
	if (send(fd, request, length, MSG_NOSIGNAL) != length)
		return error(UNREACHABLE, "send: %s", strerror(errno));
	status = relay(fd, UNREACHABLE, "the witness");
	/* Nothing more comes, but "stop" ends only when the witness has. */
	while (read(fd, &rest, 1) > 0)
		;
	return status;
}

static int usage(void)
{
	fputs("usage: witness run [--mebibytes N] [--dir DIR] [--socket PATH] [--no-spin]\n"
	      "       witness check [--socket PATH]\n"
	      "       witness locate [--socket PATH] PAGE\n"
	      "       witness damage [--socket PATH] CHECK\n"
	      "       witness stop [--socket PATH]\n"
	      "       witness churn start MEBIBYTES | holes MEBIBYTES | check | stop\n", stderr);
	return WRONG_USAGE;
}

/* The witness changes its directory, so its paths must be absolute. */
static const char *absolute(const char *path)
{
	char cwd[PATH_MAX], *full;

	if (*path == '/')
		return path;
	if (!getcwd(cwd, sizeof(cwd)) ||
	    asprintf(&full, "%s/%s", cwd, path) < 0)
		return NULL;
	return full;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	const char *argument = NULL;
	bool running = !strcmp(command, "run");
	char request[REQUEST];

	if (!strcmp(command, "churn")) {
		int status = churn(argc - 2, argv + 2);

		return status == WRONG_USAGE ? usage() : status;
	}
	for (int i = 2; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--socket") && value) {
			options.socket = value;
			i++;
		} else if (running && !strcmp(argv[i], "--dir") && value) {
			options.dir = value;
			i++;
		} else if (running && !strcmp(argv[i], "--mebibytes") &&
			   value) {
			char *end;

			errno = 0;
			options.mebibytes = strtoul(value, &end, 10);
			/* A page's first word has 24 bits for its number. */
			if (errno || *end || !options.mebibytes ||
			    options.mebibytes > 65536)
				return usage();
			i++;
		} else if (running && !strcmp(argv[i], "--no-spin")) {
			options.spin = false;
		} else if (!argument && argv[i][0] != '-') {
			argument = argv[i];
		} else {
			return usage();
		}
	}
	options.socket = absolute(options.socket);
	options.dir = absolute(options.dir);
	if (!options.socket || !options.dir)
		return error(WRONG_USAGE, "getcwd: %s", strerror(errno));

	if (!strcmp(command, "locate") || !strcmp(command, "damage")) {
		if (!argument || strlen(argument) > REQUEST - 16)
			return usage();
		snprintf(request, sizeof(request), "%s %.*s\n", command,
			 REQUEST - 16, argument);
		return ask(request);
	}
	if (argument)
		return usage();
	if (running)
		return run();
	if (!strcmp(command, "check"))
		return ask("check\n");
	if (!strcmp(command, "stop"))
		return ask("stop\n");
	return usage();
}
