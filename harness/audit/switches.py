# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own switches, which a suspend turns and a resume has to turn back."""

from __future__ import annotations

from collections.abc import Mapping

from harness.audit.gdb import Gdb
from harness.audit.irqs import disabled
from harness.audit.symbols import Symbols
from harness.record.result import AuditState

DEVICE = "kernel"
_LIST = 16
# Of a variable: how many of its bytes are compared. Which of them there are depends on
# the version and on the config.
SWITCHES: Mapping[str, int] = {
    # kernel/power/process.c, kernel/freezer.c: tasks are frozen.
    "pm_freezing": 1,
    "pm_nosig_freezing": 1,
    "freezer_active": 4,  # the count of a static key, since 6.1
    "system_freezing_cnt": 4,  # before
    "workqueue_freezing": 1,
    "oom_killer_disabled": 1,
    "usermodehelper_disabled": 4,
    # kernel/cpu.c
    "cpu_hotplug_disabled": 4,
    "__cpu_online_mask": 8,
    "__cpu_active_mask": 8,
    "__num_online_cpus": 4,
    # kernel/time: clocks stand still.
    "timekeeping_suspended": 4,
    "tick_freeze_depth": 4,
    "watchdog_running": 4,
    # drivers/base: devices that are on their way down. The head of an empty list
    # points to itself.
    "dpm_prepared_list": _LIST,
    "dpm_suspended_list": _LIST,
    "dpm_late_early_list": _LIST,
    "dpm_noirq_list": _LIST,
    "defer_all_probes": 1,
    # Locks of who takes the system down, each with its owner first.
    "system_transition_mutex": 8,
    "device_hotplug_lock": 8,
    "cpu_add_remove_lock": 8,
    # kernel/printk/printk.c, before 6.4.
    "console_suspended": 4,
    "gfp_allowed_mask": 4,
    "system_state": 4,
    "pm_suspend_target_state": 4,
    "events_check_enabled": 1,
    # What a notifier, or a driver of all devices, turns for the time of a suspend.
    "rcu_expedited_nesting": 4,
    "rcu_async_hurry_nesting": 4,
    "cpufreq_suspended": 1,
    "hung_detector_suspended": 1,
    "console_printk": 16,
    "oops_in_progress": 4,
    "tainted_mask": 8,
    "kexec_in_progress": 1,
    "kexec_image": 8,
    "__kexec_lock": 4,
}


def switches(symbols: Symbols, gdb: Gdb) -> dict[str, bytes]:
    """The values of those that the kernel has, and of each interrupt; the machine stands still.

    Args:
        symbols: Its symbols, where it runs.
        gdb: What its memory is read through.
    """
    found = {
        name: gdb.read(symbols[name], size) for name, size in SWITCHES.items() if name in symbols
    }
    return found | disabled(symbols, gdb)


def turned(
    before: Mapping[str, bytes], after: Mapping[str, bytes], *, why: Mapping[str, str]
) -> list[AuditState]:
    """Those that are not as they were, explained or not.

    Args:
        before: As the function that leaves was entered.
        after: As it returned.
        why: Those that may not be as they were, and the reason.
    """
    return [
        AuditState(
            device=DEVICE,
            field=name,
            before=was.hex(),
            after=after[name].hex(),
            why=why.get(name, ""),
        )
        for name, was in before.items()
        if after.get(name, was) != was
    ]
