# SPDX-License-Identifier: GPL-2.0-only
"""Does a resuming kernel without an image get the rest of the memory?

It is booted into 0-16 MiB, finds no good image, and hot-adds the memory above,
block by block; then a process uses more of it than a restricted kernel ever had.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import damage
from harness.errors import RefusedError
from harness.machine import Machine
from harness.suite import Hibernated

pytestmark = [pytest.mark.vm, pytest.mark.ci]

FILL_MIB = 300
BLOCK = 16 << 20


def assert_grew(machine: Machine) -> None:
    restricted = machine.status_of("resuming", "init")
    grown = machine.status_of("resuming", "grown")
    assert grown["block_bytes"] == BLOCK
    assert grown["refused_blocks"] == 0
    # All that makes whole blocks; at most one at the end does not.
    above = sum(end - max(start, BLOCK) for start, end in restricted["firmware_ram"] if end > BLOCK)
    assert grown["left_bytes"] < BLOCK
    assert grown["blocks"] * BLOCK + grown["left_bytes"] == above
    assert grown["memtotal_kb"] - restricted["memtotal_kb"] == grown["blocks"] * BLOCK >> 10
    assert machine.status_of("resuming", "filled")["mebibytes"] == FILL_MIB


@pytest.mark.short
def test_no_image(machine: Machine) -> None:
    with pytest.raises(RefusedError) as refusal:
        machine.resume(append=f"kspawn.grow={FILL_MIB}")
    assert refusal.value.status == "absent"
    assert_grew(machine)


@pytest.mark.short
def test_restricted_kernel_could_not(machine: Machine) -> None:
    """The control: nothing is added where nobody asks for it."""
    with pytest.raises(RefusedError):
        machine.resume()
    assert not [line for line in machine.status_lines if line["event"] == "grown"]


@pytest.mark.parametrize("harm", [damage.half_written, damage.flipped_without_mending])
def test_bad_image(hibernated: Hibernated, harm: Callable[[Path], None]) -> None:
    """Also where an image was, and memory above 16 MiB was written to already."""
    machine = hibernated.again()
    harm(machine.disk)
    with pytest.raises(RefusedError):
        machine.resume(append=f"kspawn.grow={FILL_MIB}")
    assert_grew(machine)
