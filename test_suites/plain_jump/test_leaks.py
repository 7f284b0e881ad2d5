# SPDX-License-Identifier: GPL-2.0-only
"""Does a jump leak a page?

What the kernel takes for a jump is a few pages, and 25 jumps do not tell them from
what memory does anyhow. A peer that is a few instructions is loaded, jumped into and
unloaded in milliseconds: 500 times, and less than half a page may go each time.
"""

from __future__ import annotations

import re

import pytest

from harness.cycle.readings import read
from harness.machine.machine import Machine

pytestmark = [pytest.mark.vm]

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


def test_no_page_leaks(machine: Machine) -> None:
    machine.boot()
    lost = lost_pages(machine)
    assert lost < 0.5


def test_leak_of_a_page_is_seen(machine: Machine) -> None:
    """The mutation: a module takes a page at each jump."""
    machine.boot()
    machine.load_module("kspawn_leak")
    lost = lost_pages(machine)
    assert 0.5 < lost < 1.5


@pytest.mark.ci
def test_open_descriptors_are_counted(machine: Machine) -> None:
    machine.boot()
    before = read(machine).files
    machine.run("for n in $(seq 20); do sleep 1000 </dev/null >/dev/null 2>&1 & done").check()
    # The first connection has some for itself.
    assert abs(read(machine).files - before - 3 * 20) <= 5
