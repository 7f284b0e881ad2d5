/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * witness: a process whose state must survive hibernation, and which can tell
 * whether it did. It holds many kinds of state; each is a file in witnesses/,
 * which registers itself: nothing else has a list of them.
 */
#ifndef WITNESS_H
#define WITNESS_H

#include "types.h"

/* When a witness is armed, as far as that matters; then by name. */
enum order {
	ORDER_CHILDREN,		/* forks: its child shares nothing with others */
	ORDER_SIGNALS,		/* blocks signals: all threads are to have that */
	ORDER_MAIN,
	ORDER_THREADS,		/* starts threads */
	ORDER_LAST,		/* what threads would inherit, and are not to */
};

/*
 * One kind of state. arm() ends the process through die() if it fails, and
 * calls not_here() if there can be no such state. check() says in detail what
 * it found, never blocks for good, and leaves the state as arm() made it, so
 * that it can be called after every hibernation. damage() changes the state
 * such that the next check() must fail, and that of no other.
 */
struct witness {
	const char *name;	/* that of its file */
	const char *kind;	/* memory, cpu, process, files, ipc, network, time */
	const char *holds;	/* the state, in a few words */
	const char *damages;	/* what damage() does, in a few words */
	enum order order;
	bool spins;		/* takes a CPU: left out with --no-spin */
	bool systemwide;	/* such as a block device: left out with --no-systemwide */
	void (*arm)(void);
	bool (*check)(char *detail);
	bool (*damage)(char *detail);
	void (*end)(void);	/* optional: what would outlive the process goes */
};

/*
 * One a file: WITNESS = { .name = ... }; The linker collects the pointers, see
 * registry.c.
 */
#define WITNESS								\
	static const struct witness the_witness;			\
	static const struct witness *const the_entry			\
	__attribute__((used, section("witnesses"))) = &the_witness;	\
	static const struct witness the_witness

#endif
