/* SPDX-License-Identifier: GPL-2.0-only */
/* A system call across which every register of the caller has to stay. */
#ifndef HELD_REGISTERS_H
#define HELD_REGISTERS_H

/*
 * Calls the kernel with known values in all registers that a system call keeps,
 * and compares them when it is back. Returns as syscall(2) does.
 */
long syscall_holding(long number, long a, long b, long c, long d);
/* The first register that the last such call did not keep; NULL if it kept all. */
const char *register_lost(void);
/*
 * The same of PKRU, which kernels since v5.14 do not keep: it is not part of what
 * FXRSTOR or XRSTOR load any more, and nothing else puts it away in a suspend.
 */
const char *pkru_lost(void);

#endif
