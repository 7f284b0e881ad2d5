// SPDX-License-Identifier: GPL-2.0-only
/* Leaks a page at each jump, as the kernel would that forgets one of an image. */
#include <linux/gfp.h>
#include <linux/module.h>

#include "kspawn_syscore.h"

static int on_suspend(void)
{
	return alloc_page(GFP_ATOMIC) ? 0 : -ENOMEM;
}

static int __init leak_init(void)
{
	register_syscore(&kspawn_syscore);
	return 0;
}
module_init(leak_init);

static void __exit leak_exit(void)
{
	unregister_syscore(&kspawn_syscore);
}
module_exit(leak_exit);

MODULE_DESCRIPTION("A page that each jump loses");
MODULE_LICENSE("GPL");
