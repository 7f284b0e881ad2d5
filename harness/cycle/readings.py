# SPDX-License-Identifier: GPL-2.0-only
"""Readings of one life of a normal kernel: what may leak, and its clocks, jump after jump."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from harness.machine.machine import Machine
from harness.record.result import Check

LEAK_CHECKS = ("leak.memory", "leak.slab", "leak.files")
CLOCK_CHECKS = ("clock.monotonic", "clock.boottime", "clock.realtime")

# Per-CPU lists, slabs and the page cache breathe; a leak of what lies in 0-16 MiB
# would be 16 MiB a jump, one of a page of it 100 kB in 25 jumps.
SLACK_KB = 4096
_SLACK_FILES = 8
# The RTC, by which a kernel learns how long it was away, counts in seconds.
_RTC_SECONDS = 2.0
# The host's clock is read when the answer is there.
_ANSWER_SECONDS = 0.5


@dataclass(frozen=True)
class Reading:
    """What could leak, and the clocks; seconds.

    Args:
        files: Open descriptors of all processes.
        away: Seconds that all spawned kernels together had run, by their own clocks,
            when they reported that they run. The normal kernel was away for longer.
        host: CLOCK_MONOTONIC of the host.
    """

    available_kb: int
    slab_kb: int
    files: int
    monotonic: float
    boottime: float
    realtime: float
    away: float
    host: float


def read(machine: Machine) -> Reading:
    """Read what could leak in a running machine, after its caches were dropped.

    Args:
        machine: A running machine.
    """
    # Descriptors are counted one by one: /proc/sys/fs/file-nr lacks what the CPUs have
    # not added to it yet, up to 31 files each (percpu_counter_read_positive()).
    text = machine.run(
        "sync; echo 3 > /proc/sys/vm/drop_caches; sleep 0.2;"
        "grep -E 'MemAvailable|^Slab' /proc/meminfo; "
        # Freed pages that wait in the lists of the CPUs are in no other counter, and
        # newer kernels keep ten thousand of them there.
        'awk \'$1 == "count:" { n += 4 * $2 } END { print "PerCPU:", n }\' /proc/zoneinfo; '
        "echo /proc/[0-9]*/fd/[0-9]* | wc -w;"
        "kspawn clocks"
    ).check()
    words = text.split()
    clocks = [float(word) for word in words[-3:]]
    away = [
        line["ms"]
        for line in machine.status_lines
        if (line["role"], line["event"]) == ("hibernating", "init")
    ]
    return Reading(
        available_kb=sum(
            int(words[words.index(name) + 1]) for name in ("MemAvailable:", "PerCPU:")
        ),
        slab_kb=int(words[words.index("Slab:") + 1]),
        files=int(words[-4]),
        monotonic=clocks[0],
        boottime=clocks[1],
        realtime=clocks[2],
        away=sum(away) / 1000,
        host=time.monotonic(),
    )


def leak_checks(readings: Sequence[Reading], *, slack_kb: int = SLACK_KB) -> list[Check]:
    """Nothing gets less or more from the first readings to the last ones.

    Args:
        readings: One after each jump or hibernation of one life.
        slack_kb: How much less memory may be available at the end.

    Returns:
        One of each of LEAK_CHECKS.
    """
    # One reading breathes by as much as a small leak: three at each end.
    early, late = readings[:3], readings[-3:]

    def check(name: str, of: str, slack: int) -> Check:
        first, last = (median(getattr(one, of) for one in end) for end in (early, late))
        worse = first - last if of == "available_kb" else last - first
        return Check(name=name, ok=worse <= slack, detail=f"{of}: {first:g} → {last:g}")

    return [
        check("leak.memory", "available_kb", slack_kb),
        check("leak.slab", "slab_kb", SLACK_KB),
        check("leak.files", "files", _SLACK_FILES),
    ]


def clock_checks(readings: Sequence[Reading]) -> list[Check]:
    """The clocks do what time(7) and clock_gettime(2) say, though the kernel was away.

    CLOCK_MONOTONIC stands still meanwhile, and never runs backwards; CLOCK_BOOTTIME
    and CLOCK_REALTIME go on.

    Args:
        readings: One before the first jump, and one after each.

    Returns:
        One of each of CLOCK_CHECKS.
    """
    first, last = readings[0], readings[-1]
    host, away = last.host - first.host, last.away - first.away
    monotonic = last.monotonic - first.monotonic
    boottime = last.boottime - first.boottime
    realtime = last.realtime - first.realtime
    steps = list(pairwise(readings))
    forwards = all(old.monotonic < new.monotonic for old, new in steps)
    # A step of it may be short by a part of the RTC's second, but not of what ran by.
    counted = all(
        new.boottime - old.boottime > new.monotonic - old.monotonic - 0.01 for old, new in steps
    )
    return [
        Check(
            name="clock.monotonic",
            ok=forwards and monotonic <= host - away + _ANSWER_SECONDS,
            detail=f"{monotonic:.1f} s in {host:.1f} s, more than {away:.1f} s of them away"
            + ("" if forwards else "; it ran backwards"),
        ),
        Check(
            name="clock.boottime",
            ok=counted and abs(boottime - host) <= _RTC_SECONDS,
            detail=f"{boottime:.1f} s in {host:.1f} s"
            + ("" if counted else "; less than CLOCK_MONOTONIC in one jump"),
        ),
        Check(
            name="clock.realtime",
            ok=abs(realtime - host) <= _RTC_SECONDS,
            detail=f"{realtime:.1f} s in {host:.1f} s",
        ),
    ]
