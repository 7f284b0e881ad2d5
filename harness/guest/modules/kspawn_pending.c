// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leaves the interrupt of the local APIC timer pending at each jump.
 *
 * It lets a timer expire when interrupts are off already and the timer is not
 * stopped yet: what was registered last is suspended first. Otherwise that is a
 * matter of chance.
 */
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/version.h>

#include "kspawn_syscore.h"

static struct hrtimer timer;

static enum hrtimer_restart pending_expire(struct hrtimer *expired)
{
	return HRTIMER_NORESTART;
}

static int on_suspend(void)
{
	hrtimer_start(&timer, ns_to_ktime(100 * NSEC_PER_USEC), HRTIMER_MODE_REL);
	mdelay(2);
	return 0;
}

static int __init pending_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&timer, pending_expire, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#else
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = pending_expire;
#endif
	register_syscore(&kspawn_syscore);
	return 0;
}
module_init(pending_init);

static void __exit pending_exit(void)
{
	unregister_syscore(&kspawn_syscore);
	hrtimer_cancel(&timer);
}
module_exit(pending_exit);

MODULE_DESCRIPTION("A timer that expires in the middle of a jump");
MODULE_LICENSE("GPL");
