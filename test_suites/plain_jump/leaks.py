# SPDX-License-Identifier: GPL-2.0-only
"""How many pages a jump loses, measured over hundreds of them."""

from __future__ import annotations

import re

from harness.machine.machine import Machine

JUMPS = 500


def free_pages(machine: Machine) -> int:
    """Pages that are free, also in lists of the CPUs, or that slabs hold."""
    text = machine.run(
        "sync; echo 3 > /proc/sys/vm/drop_caches; cat /proc/zoneinfo; grep ^Slab: /proc/meminfo"
    ).check()
    free = re.findall(r"^ +(?:nr_free_pages|count:) +(\d+)$", text, re.MULTILINE)
    slab = re.findall(r"^Slab: +(\d+) kB$", text, re.MULTILINE)
    return sum(map(int, free)) + int(slab[0]) // 4


def jump(machine: Machine, times: int) -> None:
    """Each time into an image that was loaded for it."""
    back = r"{\"role\":\"normal\",\"event\":\"back\",\"command\":\"payload\"}"
    loop = f"for i in $(seq {times}); do kspawn payload -g 1 || exit; done"
    machine.leave(f"sh -c '{loop}; echo \"{back}\" >/dev/ttyS1'")
    for number in range(times):
        limit = machine.timeouts.deadline("load", f"jump {number + 1} of {times}")
        machine.wait_status("normal", "payload", deadline=limit)
    machine.come_back()


def lost_pages(machine: Machine) -> float:
    """How many pages a jump loses, after some that warm up what stays."""
    jump(machine, 50)
    before = free_pages(machine)
    jump(machine, JUMPS)
    return (before - free_pages(machine)) / JUMPS
