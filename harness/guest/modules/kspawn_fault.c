// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device that fails on purpose while it is suspended for a jump.
 *
 * mode=fail: its freeze callback returns -EIO; mode=panic: it panics;
 * mode=panic-back: it panics when it is to go on after the jump back. The
 * device counts the callbacks that it has seen, so that a test can tell
 * whether it was left suspended.
 */
#include <linux/module.h>
#include <linux/panic.h>
#include <linux/platform_device.h>
#include <linux/pm.h>

static char *mode = "none";
module_param(mode, charp, 0600);
MODULE_PARM_DESC(mode, "none, fail, panic or panic-back");

static int freezes, thaws;
module_param(freezes, int, 0400);
module_param(thaws, int, 0400);

static struct platform_device *good, *bad;

static int fault_freeze(struct device *dev)
{
	if (!strcmp(mode, "panic") && dev == &bad->dev)
		panic("kspawn_fault: panic in the freeze callback");
	if (!strcmp(mode, "fail") && dev == &bad->dev)
		return -EIO;
	freezes++;
	return 0;
}

static int fault_thaw(struct device *dev)
{
	thaws++;
	return 0;
}

static int fault_restore(struct device *dev)
{
	if (!strcmp(mode, "panic-back"))
		panic("kspawn_fault: panic in the restore callback");
	return fault_thaw(dev);
}

static const struct dev_pm_ops fault_pm_ops = {
	.freeze = fault_freeze,
	.thaw = fault_thaw,
	.restore = fault_restore,
};

static struct platform_driver fault_driver = {
	.driver = {
		.name = "kspawn_fault",
		.pm = &fault_pm_ops,
	},
};

static int __init fault_init(void)
{
	int err = platform_driver_register(&fault_driver);

	if (err)
		return err;
	/* Devices are suspended in reverse: the good one before the bad one. */
	bad = platform_device_register_simple("kspawn_fault", 0, NULL, 0);
	good = platform_device_register_simple("kspawn_fault", 1, NULL, 0);
	if (!IS_ERR(bad) && !IS_ERR(good))
		return 0;
	if (!IS_ERR(good))
		platform_device_unregister(good);
	if (!IS_ERR(bad))
		platform_device_unregister(bad);
	platform_driver_unregister(&fault_driver);
	return -ENODEV;
}
module_init(fault_init);

static void __exit fault_exit(void)
{
	platform_device_unregister(good);
	platform_device_unregister(bad);
	platform_driver_unregister(&fault_driver);
}
module_exit(fault_exit);

MODULE_DESCRIPTION("A device that fails while it is suspended for a jump");
MODULE_LICENSE("GPL");
