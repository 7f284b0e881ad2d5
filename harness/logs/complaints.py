# SPDX-License-Identifier: GPL-2.0-only
"""Complaints: lines in which a kernel reports an error and goes on, and which are no splat.

A complaint fails a run like a splat, unless the test expects it or the table of
what is tolerated (`TOLERATED`) has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from harness.logs.lines import Line
from harness.record.result import Complaint
from harness.record.result import ComplaintKind as Kind

# A log full of complaints that differ in more than numbers must not fill the memory.
_MOST = 500
_NUMBER = re.compile(r"(?:0x)?\b[0-9a-f]*\d[0-9a-f]*\b")


class Pattern(NamedTuple):
    """What a line of a kind looks like."""

    kind: Kind
    pattern: re.Pattern[str]
    sources: dict[str, str]
    """The kernel's files that print such lines, each with words of its format string."""


def _of(kind: Kind, pattern: str, sources: dict[str, str]) -> Pattern:
    return Pattern(kind, re.compile(pattern), sources)


PATTERNS = (
    _of(
        Kind.INTERRUPT,
        r"irq \d+: nobody cared|irq event \d+: bogus return value",
        {"kernel/irq/spurious.c": "nobody cared (try booting with"},
    ),
    _of(
        Kind.INTERRUPT,
        # 6.1 has the function and "vector".
        r"No irq handler for \d+\.\d+|(?:__)?common_interrupt: \d+\.\d+ No irq handler",
        {"arch/x86/kernel/irq.c": "No irq handler for "},
    ),
    _of(
        Kind.FILESYSTEM,
        r"EXT4-fs error \(device \S+\)",
        {"fs/ext4/super.c": "EXT4-fs error (device %s)"},
    ),
    _of(
        Kind.FILESYSTEM,
        r"Aborting journal on device \S",
        {"fs/jbd2/journal.c": "Aborting journal on device %s"},
    ),
    _of(
        Kind.FILESYSTEM,
        r"XFS \(\S+\): (?:Metadata [\w ]{1,20} detected at "
        r"|[\w -]{1,40} \(0x[0-9a-f]+\) detected at .*Shutting down filesystem)",
        {
            "fs/xfs/xfs_error.c": "Metadata %s detected at %pS",
            "fs/xfs/xfs_fsops.c": "Shutting down filesystem",
        },
    ),
    _of(
        Kind.FILESYSTEM,
        r"BTRFS (?:error|critical) \(device \S+",
        {"fs/btrfs/volumes.c": "errs: wr %u, rd %u, flush %u, corrupt %u, gen %u"},
    ),
    _of(
        Kind.IO,
        r"(?:blk_update_request: |print_req_error: )?[\w/ ]{1,40} error, dev \S+, sector \d+",
        {"block/blk-mq.c": "%s error, dev %s, sector %llu"},
    ),
    _of(
        Kind.IO,
        r"Buffer I/O error on dev(?:ice)? \S+, logical block \d",
        {"fs/buffer.c": "Buffer I/O error on dev %pg, logical block %llu"},
    ),
    _of(
        Kind.DISK_LINK,
        r"ata\d+(?:\.\d+)?: failed to recover \w+ after \d+ tries",
        {"drivers/ata/libata-pmp.c": "failed to recover link after %d tries"},
    ),
    _of(
        Kind.DISK_LINK,
        r"ata\d+(?:\.\d+)?: (?:exception Emask 0x|disable device|reset failed, giving up)",
        {"drivers/ata/libata-eh.c": "exception Emask 0x%x"},
    ),
    _of(
        Kind.PAGE_ALLOCATION,
        r".{1,16}: page allocation failure: order:\d+",
        {"mm/page_alloc.c": "page allocation failure: order:%u"},
    ),
    _of(
        Kind.OUT_OF_MEMORY,
        r"(?:Out of memory(?: \(\w+\))?|Memory cgroup out of memory): Killed process \d+"
        r"|Out of memory and no killable processes",
        {"mm/oom_kill.c": "%s: Killed process %d (%s)"},
    ),
    _of(
        Kind.MEMORY_LEAK,
        r"kmemleak: \d+ new suspected memory leaks",
        {"mm/kmemleak.c": "%d new suspected memory leaks"},
    ),
    _of(
        Kind.NETWORK_DEVICE,
        r"unregister_netdevice: waiting for \S+ to become free",
        {"net/core/dev.c": "unregister_netdevice: waiting for %s to become free"},
    ),
    _of(
        Kind.CLOCK,
        r"clocksource: timekeeping watchdog on CPU\d+: .*\bunstable"
        r"|clocksource: Marking clocksource \S+ unstable",
        {"kernel/time/clocksource.c": "arking clocksource "},
    ),
    _of(
        Kind.CLOCK,
        r"tsc: Marking TSC unstable due to (?!boot parameter)",
        {"arch/x86/kernel/tsc.c": "Marking TSC unstable due to %s"},
    ),
    _of(
        Kind.CLOCK,
        r"TSC found unstable after boot",
        {"kernel/sched/clock.c": "TSC found unstable after boot"},
    ),
    _of(
        Kind.FREEZER,
        # 6.1 has "Freezing of tasks failed".
        r"(?:PM: )?Freezing .{1,40} failed after \d+\.\d+ seconds",
        {"kernel/power/process.c": "after %d.%03d seconds"},
    ),
    _of(
        Kind.DEVICE_PM,
        r"PM: (?:hibernation: )?Some (?:system )?devices failed to (?:power down|suspend)",
        {
            "kernel/power/hibernate.c": "Some devices failed to power down",
            "kernel/power/suspend.c": "Some devices failed to suspend",
        },
    ),
    _of(
        Kind.DEVICE_PM,
        r"\S+ \S+: PM: failed to [\w ]+: error -?\d+",
        {"drivers/base/power/main.c": "failed to %s%s: error %d"},
    ),
    _of(
        Kind.CPU,
        r"(?:smpboot: )?do_boot_cpu failed\(-?\d+\) to wakeup CPU#\d+",
        {"arch/x86/kernel/smpboot.c": "do_boot_cpu failed(%d) to wakeup CPU#%u"},
    ),
    _of(
        Kind.CPU,
        r"CPU\d+:? failed to (?:come online|report (?:alive|dead) state)"
        r"|Error taking CPU\d+ (?:up|down): -?\d+",
        {
            "kernel/cpu.c": "Error taking CPU%d up: %d",
            "arch/arm64/kernel/smp.c": "CPU%u: failed to come online",
        },
    ),
    _of(
        Kind.PROCESS,
        r".{1,16}\[\d+\]: segfault at [0-9a-f]+ ip ",
        {"arch/x86/mm/fault.c": "segfault at %lx ip"},
    ),
    _of(
        Kind.PROCESS,
        r"traps: .{1,16}\[\d+\] (?:trap |general protection)",
        {"arch/x86/kernel/traps.c": "ip:%lx sp:%lx error:%lx"},
    ),
)
_ANY = re.compile("|".join(f"(?:{each.pattern.pattern})" for each in PATTERNS))


class Tolerated(NamedTuple):
    """A complaint that says nothing about the kernel under test."""

    kind: Kind
    pattern: str
    """Searched for in its title."""
    accelerators: tuple[str, ...]
    """Where it is tolerated."""
    why: str


TOLERATED = (
    Tolerated(
        Kind.CLOCK,
        r"^clocksource: (?:timekeeping watchdog|Marking clocksource tsc(?:-early)? unstable)"
        r"|^tsc: Marking TSC unstable due to clocksource watchdog"
        r"|^TSC found unstable after boot",
        ("tcg",),
        "the emulated TSC runs with the host's clock, the other timers of the machine with "
        "QEMU's: on a busy host they drift apart",
    ),
    Tolerated(
        Kind.CLOCK,
        r"^tsc: Marking TSC unstable due to (?:TSCs unsynchronized|check_tsc_sync_source failed)",
        ("tcg",),
        "each emulated CPU reads the TSC in a thread of its own, and the host decides which runs",
    ),
)


class Complaints:
    """Collects the complaints of one log; those that differ in numbers only are one.

    Args:
        log_name: The name of the log.
    """

    def __init__(self, log_name: str) -> None:
        self.found: list[Complaint] = []
        self._log_name = log_name
        self._by_title: dict[str, Complaint] = {}

    def take(self, line: Line) -> None:
        """Look at a line of the kernel.

        Args:
            line: The line.
        """
        if not _ANY.match(line.text):
            return
        kind = next(each.kind for each in PATTERNS if each.pattern.match(line.text))
        title = _NUMBER.sub("N", line.text)
        known = self._by_title.get(title)
        if known is None and len(self.found) >= _MOST:
            known = self.found[-1]
        if known is not None:
            known.count += 1
            return
        complaint = Complaint(kind=kind, title=line.text, log=self._log_name, log_line=line.number)
        self._by_title[title] = complaint
        self.found.append(complaint)


def signature(complaint: Complaint) -> str:
    """What stays the same when the same complaint comes in another kernel or run.

    Args:
        complaint: The complaint.

    Returns:
        Its kind and its title, less all numbers.
    """
    return f"{complaint.kind}: {_NUMBER.sub('N', complaint.title)}"


def tolerate(complaints: Iterable[Complaint], *, accelerator: str) -> None:
    """Mark what is tolerated where it was said.

    Args:
        complaints: Those that are get `tolerated` set.
        accelerator: What ran the kernel: "kvm" or "tcg".
    """
    for complaint in complaints:
        for each in TOLERATED:
            if (
                complaint.kind is each.kind
                and accelerator in each.accelerators
                and re.search(each.pattern, complaint.title)
            ):
                complaint.tolerated = each.why
