# SPDX-License-Identifier: GPL-2.0-only
"""Does a jump leak a page?

What the kernel takes for a jump is a few pages, and 25 jumps do not tell them from
what memory does anyhow. A peer that is a few instructions is loaded, jumped into and
unloaded in milliseconds: 500 times, and less than half a page may go each time.
"""

from __future__ import annotations

import pytest

from harness.cycle.readings import read
from harness.machine.machine import Machine
from test_suites.plain_jump.leaks import lost_pages

pytestmark = [pytest.mark.vm]


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
