// SPDX-License-Identifier: GPL-2.0-only
/*
 * witness: memory, files, and bytes in flight.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "witness.h"

#define MEBIBYTE	(1UL << 20)
#define CHUNK		65536UL

/* Files of the witness, in its directory */

static void file_name(char *path, const char *suffix)
{
	int n = snprintf(path, PATH_MAX, "%s/witness-%016llx.%s", options.dir,
			 (unsigned long long)nonce, suffix);

	if (n >= PATH_MAX)
		die("the path of the directory is too long");
}

static int create_file(const char *suffix)
{
	char path[PATH_MAX];
	int fd;

	file_name(path, suffix);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		die_errno(path);
	return fd;
}

static int open_file(const char *suffix)
{
	char path[PATH_MAX];
	int fd;

	file_name(path, suffix);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die_errno(path);
	return fd;
}

static void unlink_file(const char *suffix)
{
	char path[PATH_MAX];

	file_name(path, suffix);
	if (unlink(path))
		die_errno(path);
}

static void write_pattern(int fd, size_t bytes, unsigned int salt)
{
	static char buffer[CHUNK];

	for (size_t offset = 0; offset < bytes; offset += CHUNK) {
		size_t n = bytes - offset < CHUNK ? bytes - offset : CHUNK;
		ssize_t written;

		fill(buffer, n, salt, offset);
		written = pwrite(fd, buffer, n, offset);
		if (written < 0)
			die_errno("pwrite");
		if ((size_t)written != n)
			die("pwrite: only %zd of %zu bytes", written, n);
	}
}

static bool check_file(char *detail, int fd, size_t bytes, unsigned int salt)
{
	static char buffer[CHUNK];
	struct difference diff = { 0 };
	struct stat st;

	if (fstat(fd, &st))
		return fail_errno(detail, "fstat");
	if ((size_t)st.st_size != bytes)
		return fail(detail, "%lld bytes instead of %zu",
			    (long long)st.st_size, bytes);
	for (size_t offset = 0; offset < bytes; offset += CHUNK) {
		size_t n = bytes - offset < CHUNK ? bytes - offset : CHUNK;
		ssize_t got = pread(fd, buffer, n, offset);

		if (got < 0)
			return fail_errno(detail, "pread");
		if ((size_t)got != n)
			return fail(detail, "pread: only %zd of %zu bytes", got,
				    n);
		compare(&diff, buffer, n, salt, offset);
	}
	return diff.differ ? fail_difference(detail, "read", &diff) : true;
}

/* Flips a bit of the byte at an offset. */
static bool damage_file(char *detail, int fd, off_t offset)
{
	char c;

	if (pread(fd, &c, 1, offset) != 1)
		return fail_errno(detail, "pread");
	c ^= 1;
	if (pwrite(fd, &c, 1, offset) != 1)
		return fail_errno(detail, "pwrite");
	return true;
}

/* anonymous-memory */

static uint64_t *memory;

size_t anonymous_pages(void)
{
	return options.mebibytes * MEBIBYTE / PAGE;
}

void *anonymous_page(size_t page)
{
	return memory + page * (PAGE / 8);
}

/*
 * The first word of a page can be recognised in an image: "KW", 24 bits of the
 * nonce, and the number of the page.
 */
static uint64_t memory_word(size_t i)
{
	size_t page = i / (PAGE / 8);

	if (i % (PAGE / 8))
		return mix(nonce, ((uint64_t)SALT_ANONYMOUS << 40) + i);
	return 0x4b57ULL << 48 | (nonce & 0xffffff) << 24 | page;
}

static void anonymous_setup(void)
{
	size_t words = options.mebibytes * MEBIBYTE / 8;

	memory = mmap(NULL, words * 8, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die_errno("mmap");
	for (size_t i = 0; i < words; i++)
		memory[i] = memory_word(i);
}

static bool anonymous_verify(char *detail)
{
	size_t pages = anonymous_pages(), bad = 0, first = 0;
	uint64_t is = 0;

	for (size_t page = 0; page < pages; page++) {
		bool differs = false;

		for (size_t j = 0; j < PAGE / 8 && !differs; j++) {
			size_t i = page * (PAGE / 8) + j;
			uint64_t word = memory[i];

			if (word == memory_word(i))
				continue;
			differs = true;
			if (!bad++) {
				first = i;
				is = word;
			}
		}
	}
	if (bad)
		return fail(detail,
			    "page %zu word %zu: 0x%016llx instead of 0x%016llx, %zu of %zu pages differ",
			    first / (PAGE / 8), first % (PAGE / 8),
			    (unsigned long long)is,
			    (unsigned long long)memory_word(first), bad, pages);
	return pass(detail, "%zu pages", pages);
}

static bool anonymous_damage(char *detail)
{
	(void)detail;
	memory[17 * (PAGE / 8) + 3] ^= 1ULL << 42;
	return true;
}

const struct check anonymous_check = {
	"anonymous-memory", anonymous_setup, anonymous_verify, anonymous_damage,
};

/* Which page frame holds a page; only root is told. */
bool page_frame(size_t page, uint64_t *pfn)
{
	uint64_t entry;
	off_t offset = (uintptr_t)anonymous_page(page) / PAGE * sizeof(entry);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = pread(fd, &entry, sizeof(entry), offset);
	if (close(fd) || n != sizeof(entry))
		return false;
	*pfn = entry & ((1ULL << 55) - 1);
	return entry >> 63 && *pfn;
}

/* tmpfs-file */

#define FILE_BYTES	(8 * MEBIBYTE)

static int file_fd = -1;
static char *file_map;

static void file_setup(void)
{
	file_fd = create_file("data");
	write_pattern(file_fd, FILE_BYTES, SALT_FILE);
	file_map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			file_fd, 0);
	if (file_map == MAP_FAILED)
		die_errno("mmap");
}

static bool file_verify(char *detail)
{
	struct difference diff = { 0 };
	struct stat st, named;
	char path[PATH_MAX];

	if (!check_file(detail, file_fd, FILE_BYTES, SALT_FILE))
		return false;
	compare(&diff, file_map, FILE_BYTES, SALT_FILE, 0);
	if (diff.differ)
		return fail_difference(detail, "mapped", &diff);
	file_name(path, "data");
	if (stat(path, &named))
		return fail_errno(detail, "stat of the path");
	if (fstat(file_fd, &st))
		return fail_errno(detail, "fstat");
	if (st.st_dev != named.st_dev || st.st_ino != named.st_ino)
		return fail(detail, "its path is now another file");
	return pass(detail, "8 MiB, read and mapped");
}

static bool file_damage(char *detail)
{
	return damage_file(detail, file_fd, 5 * MEBIBYTE + 77);
}

void remove_files(void)
{
	char path[PATH_MAX];

	if (file_fd < 0)
		return;
	file_name(path, "data");
	unlink(path);
}

const struct check file_check = {
	"tmpfs-file", file_setup, file_verify, file_damage,
};

/* unlinked-file */

#define UNLINKED_BYTES	200000
#define UNLINKED_OFFSET	123457

static int unlinked_fd;

static void unlinked_setup(void)
{
	unlinked_fd = create_file("unlinked");
	unlink_file("unlinked");
	write_pattern(unlinked_fd, UNLINKED_BYTES, SALT_UNLINKED);
	if (lseek(unlinked_fd, UNLINKED_OFFSET, SEEK_SET) < 0)
		die_errno("lseek");
}

static bool unlinked_verify(char *detail)
{
	off_t offset = lseek(unlinked_fd, 0, SEEK_CUR);
	struct stat st;

	if (offset < 0)
		return fail_errno(detail, "lseek");
	if (offset != UNLINKED_OFFSET)
		return fail(detail, "at offset %lld instead of %d",
			    (long long)offset, UNLINKED_OFFSET);
	if (fstat(unlinked_fd, &st))
		return fail_errno(detail, "fstat");
	if (st.st_nlink)
		return fail(detail, "it has %lu links instead of 0",
			    (unsigned long)st.st_nlink);
	if (!check_file(detail, unlinked_fd, UNLINKED_BYTES, SALT_UNLINKED))
		return false;
	return pass(detail, "%d bytes, at offset %d", UNLINKED_BYTES,
		    UNLINKED_OFFSET);
}

static bool unlinked_damage(char *detail)
{
	if (lseek(unlinked_fd, 1, SEEK_CUR) < 0)
		return fail_errno(detail, "lseek");
	return true;
}

const struct check unlinked_check = {
	"unlinked-file", unlinked_setup, unlinked_verify, unlinked_damage,
};

/*
 * file-lock: a POSIX lock, which another process must see, and a BSD lock,
 * which another open file must run into.
 */

#define LOCK_START	100
#define LOCK_LENGTH	57

static int posix_fd, bsd_fd, rival_fd;

static int posix_lock(int command, short type, struct flock *lock)
{
	*lock = (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = LOCK_START,
		.l_len = LOCK_LENGTH,
	};
	return fcntl(posix_fd, command, lock);
}

static void lock_setup(void)
{
	struct flock lock;

	posix_fd = create_file("posix-lock");
	unlink_file("posix-lock");
	if (posix_lock(F_SETLK, F_WRLCK, &lock))
		die_errno("fcntl");
	bsd_fd = create_file("bsd-lock");
	rival_fd = open_file("bsd-lock");
	unlink_file("bsd-lock");
	if (flock(bsd_fd, LOCK_EX | LOCK_NB))
		die_errno("flock");
}

/* What a child sees of the POSIX lock. */
static bool ask_child(char *detail, struct flock *lock)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return fail_errno(detail, "pipe");
	pid = fork();
	if (pid < 0) {
		fail_errno(detail, "fork");
		close(fds[0]);
		close(fds[1]);
		return false;
	}
	if (!pid) {
		/* A child of a process with threads: system calls only. */
		memset(lock, 0, sizeof(*lock));
		if (posix_lock(F_GETLK, F_WRLCK, lock))
			_exit(1);
		_exit(write(fds[1], lock, sizeof(*lock)) != sizeof(*lock));
	}
	if (close(fds[1]))
		die_errno("close");
	n = read(fds[0], lock, sizeof(*lock));
	if (close(fds[0]))
		die_errno("close");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fail_errno(detail, "waitpid");
	if (n != sizeof(*lock) || status)
		return fail(detail, "the child that asks for the lock failed");
	return true;
}

static bool lock_verify(char *detail)
{
	struct flock lock;

	if (!ask_child(detail, &lock))
		return false;
	if (lock.l_type == F_UNLCK)
		return fail(detail, "the POSIX lock is not held any more");
	if (lock.l_type != F_WRLCK || lock.l_start != LOCK_START ||
	    lock.l_len != LOCK_LENGTH || lock.l_pid != getpid())
		return fail(detail,
			    "a POSIX lock of type %d, start %lld, length %lld, process %d instead of %d, %d, %d, %d",
			    lock.l_type, (long long)lock.l_start,
			    (long long)lock.l_len, (int)lock.l_pid, F_WRLCK,
			    LOCK_START, LOCK_LENGTH, (int)getpid());
	if (!flock(rival_fd, LOCK_EX | LOCK_NB))
		return fail(detail, "the BSD lock is not held any more");
	if (errno != EWOULDBLOCK)
		return fail_errno(detail, "flock");
	return pass(detail, "a POSIX and a BSD lock");
}

static bool lock_damage(char *detail)
{
	struct flock lock;

	if (posix_lock(F_SETLK, F_UNLCK, &lock))
		return fail_errno(detail, "fcntl");
	return true;
}

const struct check lock_check = {
	"file-lock", lock_setup, lock_verify, lock_damage,
};

/* Bytes in flight: there must be so many, and no more */

static bool in_flight(char *detail, int fd, int bytes)
{
	int there;

	if (ioctl(fd, FIONREAD, &there))
		return fail_errno(detail, "FIONREAD");
	if (there != bytes)
		return fail(detail, "%d bytes instead of %d", there, bytes);
	return true;
}

/* What was sent is not yet there when send() returns. */
static bool await_bytes(char *detail, int fd, int bytes)
{
	struct timespec nap = { .tv_nsec = 1000000 };
	int64_t deadline = now(CLOCK_MONOTONIC) + PATIENCE * NSEC;

	while (!in_flight(detail, fd, bytes)) {
		if (now(CLOCK_MONOTONIC) > deadline)
			return false;
		nanosleep(&nap, NULL);
	}
	return true;
}

static bool put_bytes(char *detail, int fd, const void *buffer, ssize_t bytes)
{
	ssize_t n = write(fd, buffer, bytes);

	if (n < 0)
		return fail_errno(detail, "write");
	if (n != bytes)
		return fail(detail, "only %zd of %zd bytes were written", n,
			    bytes);
	return true;
}

static bool get_bytes(char *detail, int fd, void *buffer, ssize_t bytes)
{
	ssize_t n = read(fd, buffer, bytes);

	if (n < 0)
		return fail_errno(detail, "read");
	if (n != bytes)
		return fail(detail, "only %zd of %zd bytes were read", n,
			    bytes);
	return true;
}

/* Takes all bytes, compares them, and sends them again. */
static bool check_bytes(char *detail, int in, int out, int bytes,
			unsigned int salt)
{
	struct difference diff = { 0 };
	char buffer[4096];

	if (!in_flight(detail, in, bytes) ||
	    !get_bytes(detail, in, buffer, bytes) ||
	    !put_bytes(detail, out, buffer, bytes))
		return false;
	compare(&diff, buffer, bytes, salt, 0);
	return diff.differ ? fail_difference(detail, "read", &diff) : true;
}

static bool damage_bytes(char *detail, int in, int out, int bytes)
{
	char buffer[4096];

	if (!get_bytes(detail, in, buffer, bytes))
		return false;
	buffer[bytes / 2] ^= 4;
	return put_bytes(detail, out, buffer, bytes) &&
	       await_bytes(detail, in, bytes);
}

/* pipe */

#define PIPE_BYTES	1501

static int pipe_fds[2];

static void pipe_setup(void)
{
	char buffer[PIPE_BYTES], detail[DETAIL];

	if (pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	fill(buffer, PIPE_BYTES, SALT_PIPE, 0);
	if (!put_bytes(detail, pipe_fds[1], buffer, PIPE_BYTES))
		die("%s", detail);
}

static bool pipe_verify(char *detail)
{
	if (!check_bytes(detail, pipe_fds[0], pipe_fds[1], PIPE_BYTES,
			 SALT_PIPE))
		return false;
	return pass(detail, "%d bytes in flight", PIPE_BYTES);
}

static bool pipe_damage(char *detail)
{
	return damage_bytes(detail, pipe_fds[0], pipe_fds[1], PIPE_BYTES);
}

const struct check pipe_check = {
	"pipe", pipe_setup, pipe_verify, pipe_damage,
};

/* epoll: the pipe is ready, and another one, which is empty, is not */

static int epoll_fd, idle_fds[2];

static void epoll_watch(int fd, unsigned int index)
{
	struct epoll_event event = {
		.events = EPOLLIN,
		.data.u64 = mix(nonce, SALT_VALUE + index),
	};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die_errno("epoll_ctl");
}

static void epoll_setup(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		die_errno("epoll_create");
	if (pipe2(idle_fds, O_NONBLOCK | O_CLOEXEC))
		die_errno("pipe");
	epoll_watch(pipe_fds[0], 0);
	epoll_watch(idle_fds[0], 1);
}

static bool epoll_ready(char *detail, int count, unsigned int index)
{
	struct epoll_event events[2];
	bool found = false;
	int n;

	do
		n = epoll_wait(epoll_fd, events, 2, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_errno(detail, "epoll_wait");
	if (n != count)
		return fail(detail, "%d files are ready instead of %d", n,
			    count);
	for (int i = 0; i < n; i++) {
		if (events[i].events != EPOLLIN)
			return fail(detail, "events 0x%x instead of 0x%x",
				    events[i].events, EPOLLIN);
		found |= events[i].data.u64 == mix(nonce, SALT_VALUE + index);
	}
	return found ? true : fail(detail, "the data of the event is wrong");
}

static bool epoll_verify(char *detail)
{
	char c = 0;

	if (!epoll_ready(detail, 1, 0))
		return false;
	/* It must still learn of what happens to the idle pipe. */
	if (!put_bytes(detail, idle_fds[1], &c, 1) ||
	    !epoll_ready(detail, 2, 1) ||
	    !get_bytes(detail, idle_fds[0], &c, 1) ||
	    !epoll_ready(detail, 1, 0))
		return false;
	return pass(detail, "a pipe that is ready and one that is not");
}

static bool epoll_damage(char *detail)
{
	if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, pipe_fds[0], NULL))
		return fail_errno(detail, "epoll_ctl");
	return true;
}

const struct check epoll_check = {
	"epoll", epoll_setup, epoll_verify, epoll_damage,
};

/* eventfd */

static int event_fd;

static uint64_t event_count(void)
{
	return (mix(nonce, SALT_VALUE) >> 8) + 1;
}

static void eventfd_setup(void)
{
	uint64_t count = event_count();

	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (event_fd < 0)
		die_errno("eventfd");
	if (write(event_fd, &count, sizeof(count)) != sizeof(count))
		die_errno("write");
}

static bool eventfd_verify(char *detail)
{
	uint64_t count;

	if (!get_bytes(detail, event_fd, &count, sizeof(count)))
		return false;
	if (!put_bytes(detail, event_fd, &count, sizeof(count)))
		return false;
	if (count != event_count())
		return fail(detail, "counts %llu instead of %llu",
			    (unsigned long long)count,
			    (unsigned long long)event_count());
	return pass(detail, "counts %llu", (unsigned long long)count);
}

static bool eventfd_damage(char *detail)
{
	uint64_t one = 1;

	return put_bytes(detail, event_fd, &one, sizeof(one));
}

const struct check eventfd_check = {
	"eventfd", eventfd_setup, eventfd_verify, eventfd_damage,
};

/* tcp: a connection over the loopback, with bytes sent and not yet read */

#define TCP_BYTES	3000

static int tcp_client, tcp_server;
static struct sockaddr_in tcp_client_address;

static void tcp_setup(void)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(in);
	char buffer[TCP_BYTES], detail[DETAIL];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0)
		die_errno("socket");
	if (bind(listener, (struct sockaddr *)&in, sizeof(in)))
		die_errno("bind");
	if (listen(listener, 1))
		die_errno("listen");
	if (getsockname(listener, (struct sockaddr *)&in, &length))
		die_errno("getsockname");
	tcp_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (tcp_client < 0)
		die_errno("socket");
	if (connect(tcp_client, (struct sockaddr *)&in, sizeof(in)))
		die_errno("connect");
	tcp_server = accept4(listener, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (tcp_server < 0)
		die_errno("accept");
	if (close(listener))
		die_errno("close");
	if (fcntl(tcp_client, F_SETFL, O_NONBLOCK))
		die_errno("fcntl");
	length = sizeof(tcp_client_address);
	if (getsockname(tcp_client, (struct sockaddr *)&tcp_client_address,
			&length))
		die_errno("getsockname");
	fill(buffer, TCP_BYTES, SALT_TCP, 0);
	if (!put_bytes(detail, tcp_client, buffer, TCP_BYTES) ||
	    !await_bytes(detail, tcp_server, TCP_BYTES))
		die("%s", detail);
}

static bool tcp_verify(char *detail)
{
	const int ends[] = { tcp_client, tcp_server };
	struct sockaddr_in in;
	socklen_t length = sizeof(in);

	for (int i = 0; i < 2; i++) {
		struct tcp_info info;
		socklen_t size = sizeof(info);

		if (getsockopt(ends[i], IPPROTO_TCP, TCP_INFO, &info, &size))
			return fail_errno(detail, "TCP_INFO");
		if (info.tcpi_state != TCP_ESTABLISHED)
			return fail(detail, "an end is in state %d instead of %d",
				    info.tcpi_state, TCP_ESTABLISHED);
	}
	if (getpeername(tcp_server, (struct sockaddr *)&in, &length))
		return fail_errno(detail, "getpeername");
	if (in.sin_port != tcp_client_address.sin_port ||
	    in.sin_addr.s_addr != tcp_client_address.sin_addr.s_addr)
		return fail(detail, "the peer is at port %d instead of %d",
			    ntohs(in.sin_port),
			    ntohs(tcp_client_address.sin_port));
	if (!check_bytes(detail, tcp_server, tcp_client, TCP_BYTES, SALT_TCP) ||
	    !await_bytes(detail, tcp_server, TCP_BYTES))
		return false;
	return pass(detail, "%d bytes sent and not read", TCP_BYTES);
}

static bool tcp_damage(char *detail)
{
	return damage_bytes(detail, tcp_server, tcp_client, TCP_BYTES);
}

const struct check tcp_check = {
	"tcp", tcp_setup, tcp_verify, tcp_damage,
};

/*
 * unix-socket: datagrams, of which one carries a file that is open nowhere
 * else
 */

#define DATAGRAMS	3
#define CARRIER		1
#define PASSED_BYTES	5000

static int unix_fds[2];

static size_t datagram_bytes(int i)
{
	return 100 + 57 * i;
}

/* passed is -1 for a datagram without a file. */
static bool send_datagram(char *detail, void *buffer, size_t bytes, int passed)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { buffer, bytes };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (passed >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &passed, sizeof(passed));
	}
	n = sendmsg(unix_fds[0], &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return fail_errno(detail, "sendmsg");
	if ((size_t)n != bytes)
		return fail(detail, "only %zd of %zu bytes were sent", n,
			    bytes);
	return true;
}

static ssize_t receive_datagram(char *detail, void *buffer, size_t bytes,
				int *passed)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { buffer, bytes };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space),
	};
	ssize_t n = recvmsg(unix_fds[1], &message,
			    MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *header;

	*passed = -1;
	if (n < 0) {
		fail_errno(detail, "recvmsg");
		return n;
	}
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET &&
	    header->cmsg_type == SCM_RIGHTS)
		memcpy(passed, CMSG_DATA(header), sizeof(*passed));
	return n;
}

static void unix_setup(void)
{
	char buffer[DETAIL], detail[DETAIL];
	int passed;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, unix_fds))
		die_errno("socketpair");
	passed = create_file("passed");
	unlink_file("passed");
	write_pattern(passed, PASSED_BYTES, SALT_PASSED);
	for (int i = 0; i < DATAGRAMS; i++) {
		size_t bytes = datagram_bytes(i);

		fill(buffer, bytes, SALT_DATAGRAM + i, 0);
		if (!send_datagram(detail, buffer, bytes,
				   i == CARRIER ? passed : -1))
			die("%s", detail);
	}
	if (close(passed))
		die_errno("close");
}

static bool check_datagram(char *detail, int i, bool damage)
{
	char buffer[DETAIL] = "", ignored[DETAIL];
	struct difference diff = { 0 };
	int passed;
	ssize_t n = receive_datagram(detail, buffer, sizeof(buffer), &passed);
	size_t bytes = datagram_bytes(i);
	bool good = true;

	if (n < 0)
		return false;
	compare(&diff, buffer, bytes, SALT_DATAGRAM + i, 0);
	if ((size_t)n != bytes) {
		good = fail(detail, "datagram %d has %zd bytes instead of %zu",
			    i, n, bytes);
	} else if (diff.differ) {
		char what[32];

		snprintf(what, sizeof(what), "datagram %d", i);
		good = fail_difference(detail, what, &diff);
	} else if ((passed >= 0) != (i == CARRIER)) {
		good = fail(detail, "datagram %d came with%s a file", i,
			    passed < 0 ? "out" : "");
	} else if (passed >= 0) {
		good = check_file(detail, passed, PASSED_BYTES, SALT_PASSED);
	}
	if (damage && passed >= 0)
		good = damage_file(detail, passed, PASSED_BYTES - 3) && good;
	if (!send_datagram(good ? detail : ignored, buffer, n, passed))
		good = false;
	if (passed >= 0 && close(passed))
		die_errno("close");
	return good;
}

static bool unix_verify(char *detail)
{
	struct pollfd rest = { .fd = unix_fds[1], .events = POLLIN };

	for (int i = 0; i < DATAGRAMS; i++)
		if (!check_datagram(detail, i, false))
			return false;
	if (poll(&rest, 1, 0) != 1)
		return fail(detail, "the datagrams were not sent again");
	return pass(detail, "%d datagrams in flight, one with a file",
		    DATAGRAMS);
}

static bool unix_damage(char *detail)
{
	for (int i = 0; i < DATAGRAMS; i++)
		if (!check_datagram(detail, i, true))
			return false;
	return true;
}

const struct check unix_check = {
	"unix-socket", unix_setup, unix_verify, unix_damage,
};
