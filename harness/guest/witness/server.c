// SPDX-License-Identifier: GPL-2.0-only
/* The server through which a witness is asked. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "anonymous-memory.h"
#include "answer.h"
#include "exit_codes.h"
#include "json.h"
#include "options.h"
#include "pattern.h"
#include "registry.h"
#include "report.h"
#include "server.h"
#include "types.h"

#define REQUEST_SECONDS	10
#define REQUEST		128

static bool listening;

void clean_up(void)
{
	end_all();
	if (listening)
		unlink(options.socket);
}

void put_id(FILE *out)
{
	fprintf(out, "\"pid\": %d, \"nonce\": \"0x%016llx\"", (int)getpid(),
		(unsigned long long)nonce);
}

static int answer_check(FILE *out)
{
	bool good;

	fputc('{', out);
	put_id(out);
	fputs(", ", out);
	good = put_checks(out);
	fputs("}\n", out);
	return good ? GOOD : CHECK_FAILED;
}

static int answer_damage(FILE *out, const char *name)
{
	char detail[DETAIL] = "";

	if (!damage_one(detail, name)) {
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
	now_doing("server");
	/* A client that went away is no reason for a witness to end. */
	answer_send(&answer, fd, status);
	return go_on;
}

_Noreturn void serve(int listener)
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

int listen_socket(void)
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
