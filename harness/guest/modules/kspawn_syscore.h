/* SPDX-License-Identifier: GPL-2.0-only */
/* A callback at each jump when interrupts are off, by either interface of the kernel. */
#ifndef KSPAWN_SYSCORE_H
#define KSPAWN_SYSCORE_H

#include <linux/syscore_ops.h>

/* What the module does then. */
static int on_suspend(void);

#ifdef HAVE_STRUCT_SYSCORE
static int kspawn_suspend(void *data)
{
	return on_suspend();
}

static const struct syscore_ops kspawn_syscore_ops = {
	.suspend = kspawn_suspend,
};

static struct syscore kspawn_syscore = {
	.ops = &kspawn_syscore_ops,
};
#else
static struct syscore_ops kspawn_syscore = {
	.suspend = on_suspend,
};

#define register_syscore	register_syscore_ops
#define unregister_syscore	unregister_syscore_ops
#endif

#endif
