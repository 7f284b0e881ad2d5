// SPDX-License-Identifier: GPL-2.0-only
/* Leaks a page at each jump, as the kernel would that forgets one of an image. */
#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/syscore_ops.h>

#ifdef HAVE_STRUCT_SYSCORE
static int leak_suspend(void *data)
{
	return alloc_page(GFP_ATOMIC) ? 0 : -ENOMEM;
}

static const struct syscore_ops leak_ops = {
	.suspend = leak_suspend,
};

static struct syscore leak = {
	.ops = &leak_ops,
};
#else
static int leak_suspend(void)
{
	return alloc_page(GFP_ATOMIC) ? 0 : -ENOMEM;
}

static struct syscore_ops leak = {
	.suspend = leak_suspend,
};

#define register_syscore	register_syscore_ops
#define unregister_syscore	unregister_syscore_ops
#endif

static int __init leak_init(void)
{
	register_syscore(&leak);
	return 0;
}
module_init(leak_init);

static void __exit leak_exit(void)
{
	unregister_syscore(&leak);
}
module_exit(leak_exit);

MODULE_DESCRIPTION("A page that each jump loses");
MODULE_LICENSE("GPL");
