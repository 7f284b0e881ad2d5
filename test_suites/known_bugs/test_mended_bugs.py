# SPDX-License-Identifier: GPL-2.0-only
"""Bugs that both kernels had once, and a tree may have again.

Nothing here is expected to fail. The table of them is in docs/kernels.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.base.errors import KernelError
from harness.cycle import churn
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.fixtures import recorded
from harness.plugin.suite import NO_GDT
from harness.record.timeline import Timeline
from harness.ways import plain_jump, uswsusp

pytestmark = [pytest.mark.vm]

FRESH_MIB = 96
ONLINE = "/sys/devices/system/cpu/cpu1/online"


def power_cycle(machine: Machine) -> None:
    machine.hibernate()
    machine.resume()


@NO_GDT
@pytest.mark.cold  # of two CPUs, which no other test has
@pytest.mark.parametrize(
    "leave",
    [pytest.param(plain_jump.jump, id="jump", marks=pytest.mark.ci), power_cycle],
)
def test_cpu_that_is_offline(
    lab: Lab,
    folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
    leave: Callable[[Machine], object],
) -> None:
    """It is offline when its kernel is back, and can be used again (d7893093a741)."""
    config = lab.config.model_copy(update={"cpus": 2})
    made = lab.machine(folder, timeline=new_timeline(), config=config)
    with recorded(lab, made, request) as machine:
        machine.boot()
        machine.run(f"echo 0 > {ONLINE}").check()
        try:
            leave(machine)
        except KernelError as exc:
            raise AssertionError(f"it did not come back: {exc}") from exc
        assert machine.run(f"cat {ONLINE}; nproc").check().split() == ["0", "1"]
        machine.run(f"echo 1 > {ONLINE}").check()
        placed = machine.run("taskset 2 sh -c 'cut -d\" \" -f39 /proc/self/stat'").check()
        assert placed.strip() == "1", "the CPU that was offline runs nothing"
        assert machine.splats == []


@pytest.mark.ci
def test_init_on_free_in_a_classic_hibernation(machine: Machine) -> None:
    """Free pages are in no image, and this kernel takes them for zero (18451f9f9e58).

    What the loader had in them is not zero. With clear_or_poison_free_pages() taken
    out of create_image(), this fails.
    """
    machine.boot(append="init_on_free=1")
    churn.start(machine)
    uswsusp.hibernate(machine)
    uswsusp.resume(machine, scribble=True)
    found = churn.check(machine)
    assert found["ok"], found
    # More of what was free.
    machine.run("witness churn stop").check()
    churn.start(machine, mebibytes=FRESH_MIB)
    found = churn.check(machine)
    assert found["ok"], found
    assert machine.splats == []
