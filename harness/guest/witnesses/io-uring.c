// SPDX-License-Identifier: GPL-2.0-only
/* io_uring with a request in flight: a read of an empty pipe. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "types.h"
#include "witness.h"

#define TURN_NS	2000000

static int ring = -1, ends[2];
static struct io_uring_params params;
static char *rings, got;
static struct io_uring_sqe *sqes;

static _Atomic uint32_t *word(uint32_t offset)
{
	return (_Atomic uint32_t *)(rings + offset);
}

static bool submit(void)
{
	uint32_t tail = atomic_load(word(params.sq_off.tail));
	uint32_t index = tail & *word(params.sq_off.ring_mask);

	sqes[index] = (struct io_uring_sqe) {
		.opcode = IORING_OP_READ,
		.fd = ends[0],
		.addr = (uintptr_t)&got,
		.len = 1,
		.user_data = 0x6b73,
	};
	*word(params.sq_off.array + index * 4) = index;
	atomic_store(word(params.sq_off.tail), tail + 1);
	return syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1;
}

/* How many have ended; what ends in the background is looked at, too. */
static uint32_t ended(void)
{
	syscall(SYS_io_uring_enter, ring, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
	return atomic_load(word(params.cq_off.tail)) -
	       atomic_load(word(params.cq_off.head));
}

static void io_uring_arm(void)
{
	size_t bytes;

	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0) {
		not_here("no CONFIG_IO_URING: %s", strerror(errno));
		return;
	}
	if (!(params.features & IORING_FEAT_SINGLE_MMAP)) {
		not_here("no IORING_FEAT_SINGLE_MMAP");
		return;
	}
	bytes = params.cq_off.cqes +
		params.cq_entries * sizeof(struct io_uring_cqe);
	if (bytes < params.sq_off.array + params.sq_entries * 4)
		bytes = params.sq_off.array + params.sq_entries * 4;
	rings = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		     IORING_OFF_SQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(*sqes),
		    PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqes == MAP_FAILED ||
	    pipe2(ends, O_CLOEXEC) || !submit())
		die_errno("io_uring");
}

static bool io_uring_check(char *detail)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };
	struct io_uring_cqe *cqe;
	uint32_t head = atomic_load(word(params.cq_off.head));
	char byte = 'a' + (head & 15);

	if (ended())
		return fail(detail, "%u requests ended before there was a byte",
			    ended());
	got = 0;
	if (write(ends[1], &byte, 1) != 1)
		return fail_errno(detail, "write");
	for (long i = 0; !ended() && i < PATIENCE * (NSEC / TURN_NS); i++)
		nanosleep(&turn, NULL);
	if (!ended())
		return fail(detail, "the request does not end");
	cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes) +
	      (head & *word(params.cq_off.ring_mask));
	if (cqe->user_data != 0x6b73 || cqe->res != 1 || got != byte)
		return fail(detail, "data 0x%llx, result %d, byte 0x%02x instead of 0x%02x",
			    (unsigned long long)cqe->user_data, cqe->res, got,
			    byte);
	atomic_store(word(params.cq_off.head), head + 1);
	if (!submit())
		return fail_errno(detail, "io_uring_enter");
	return pass(detail, "1 request in flight, %u before it", head + 1);
}

static bool io_uring_damage(char *detail)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };

	if (write(ends[1], "z", 1) != 1)
		return fail_errno(detail, "write");
	for (long i = 0; !ended() && i < PATIENCE * (NSEC / TURN_NS); i++)
		nanosleep(&turn, NULL);
	return true;
}

WITNESS = {
	.name = "io-uring",
	.kind = "ipc",
	.holds = "a request of io_uring that waits for a pipe",
	.damages = "ends it",
	.order = ORDER_MAIN,
	.arm = io_uring_arm,
	.check = io_uring_check,
	.damage = io_uring_damage,
};
