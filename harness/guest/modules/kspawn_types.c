// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types of a kernel, for debuggers: never loaded, only compiled with debug
 * information against the kernel's objects. harness/kernel/debuginfo.py adds what comes
 * out to a copy of a vmlinux that was built without.
 */
#include <linux/blkdev.h>
#include <linux/cgroup.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/device.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/hrtimer.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kernfs.h>
#include <linux/kexec.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/mutex.h>
#include <linux/nsproxy.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pm.h>
#include <linux/radix-tree.h>
#include <linux/rbtree.h>
#include <linux/reboot.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/swap.h>
#include <linux/timer.h>
#include <linux/utsname.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/sock.h>
#include <asm/pgtable.h>
#include <asm/processor.h>
#include <asm/switch_to.h>

/* Private to the kernel's own files; where they are, they are of use. */
#if __has_include(<linux/maple_tree.h>)
#include <linux/maple_tree.h>
#endif
#if __has_include(<kernel/printk/printk_ringbuffer.h>)
#include <kernel/printk/printk_ringbuffer.h>
#endif
#if __has_include(<mm/slab.h>)
#include <mm/slab.h>
#endif
#if __has_include(<fs/mount.h>)
#include <fs/mount.h>
#endif

/*
 * Private to kernel/printk/printk.c; drgn asks for them to print the log.
 * Nothing refers to the enum, so a variable keeps it.
 */
enum kspawn_log_flags {
	LOG_NEWLINE	= 2,
	LOG_CONT	= 8,
};

enum kspawn_log_flags kspawn_log_flags;
