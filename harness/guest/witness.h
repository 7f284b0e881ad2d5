/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * witness: a process whose state must survive hibernation, and which can
 * tell whether it did.
 */
#ifndef WITNESS_H
#define WITNESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096UL
#define DETAIL		256
#define NSEC		1000000000LL
/* How long a check waits for another thread or process: long, for TCG. */
#define PATIENCE	20

/*
 * One kind of state.  setup() ends the process through die() if it fails.
 * check() says in detail what it found, never blocks for good, and leaves the
 * state as setup() made it, so that it can be called after every hibernation.
 * damage() changes the state such that the next check() must fail, and that of
 * no other.
 */
struct check {
	const char *name;
	void (*setup)(void);
	bool (*check)(char *detail);
	bool (*damage)(char *detail);
};

struct options {
	size_t mebibytes;
	const char *dir;
	const char *socket;
	bool spin;
};

extern struct options options;
/* Seeds all patterns, so no witness is content with the state of another. */
extern uint64_t nonce;

/* witness.c */
_Noreturn void die(const char *format, ...)
	__attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *what);
void close_report(void);
bool pass(char *detail, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool fail(char *detail, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool fail_errno(char *detail, const char *what);

int64_t now(clockid_t clock);
bool wait_until(_Atomic uint32_t *word, uint32_t value);
void wait_change(_Atomic uint32_t *word, uint32_t value);
void post(_Atomic uint32_t *word, uint32_t value);

/* A well mixed 64-bit word for each index. */
static inline uint64_t mix(uint64_t seed, uint64_t index)
{
	uint64_t word = seed ^ (index * 0x9e3779b97f4a7c15ULL);

	word ^= word >> 32;
	word *= 0xd6e8feb86659fd93ULL;
	word ^= word >> 29;
	word *= 0xa0761d6478bd642fULL;
	return word ^ (word >> 32);
}

/* Which pattern a piece of state has: no two of them are alike. */
enum salt {
	SALT_ANONYMOUS = 1,
	SALT_FILE,
	SALT_UNLINKED,
	SALT_PIPE,
	SALT_TCP,
	SALT_PASSED,
	SALT_REGISTERS,
	SALT_PARENT,
	SALT_CHILD,
	SALT_VALUE,
	SALT_DATAGRAM = 0x100,
	SALT_THREAD = 0x200,
	SALT_STACK = 0x300,
};

/* What compare() found, over one or more pieces. */
struct difference {
	size_t words, differ;
	size_t offset;
	uint64_t is, expected;
};

void fill(void *buffer, size_t bytes, unsigned int salt, size_t offset);
void compare(struct difference *diff, const void *buffer, size_t bytes,
	     unsigned int salt, size_t offset);
bool fail_difference(char *detail, const char *what,
		     const struct difference *diff);

/* witness_regs.c */
extern const struct check registers_check;

/* witness_data.c */
extern const struct check anonymous_check, file_check, unlinked_check;
extern const struct check lock_check, pipe_check, epoll_check, eventfd_check;
extern const struct check tcp_check, unix_check;
size_t anonymous_pages(void);
void *anonymous_page(size_t page);
bool page_frame(size_t page, uint64_t *pfn);
void remove_files(void);

/* witness_tasks.c */
extern const struct check threads_check, futex_shared_check, signal_check;
extern const struct check posix_timer_check, timerfd_check, clock_check;
extern const struct check identity_check;
void end_child(void);

/* witness_churn.c */
int churn(int argc, char **argv);

#endif
