# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel jump into another and straight back, again and again?

No power off, no image: 25 jumps in one life of the normal kernel, by two entries
in turn. One is the start of a kernel that was just loaded; the other is where that
kernel left, when it jumped back with its own context kept: then it goes on, and
is not started again. Nothing may leak, the clocks must behave, and what ran before
goes on, as after one jump.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.base.errors import StateError
from harness.cycle import readings, verdict
from harness.cycle.readings import SLACK_KB, Reading, read
from harness.cycle.witness import Witness
from harness.machine.lab import Lab
from harness.machine.machine import Machine
from harness.plugin.fixtures import recorded
from harness.record.result import Check
from harness.record.timeline import Timeline
from harness.ways import plain_jump

pytestmark = [pytest.mark.vm]

JUMPS = 25
SPAWNED_KB = 16384


@dataclass
class Jumped:
    """A machine after its jumps; it is off."""

    machine: Machine
    checks: list[Check]
    first: Reading
    readings: list[Reading]
    last: Reading


@pytest.fixture(scope="module")
def jumped(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
    request: pytest.FixtureRequest,
) -> Iterator[Jumped]:
    # More can be asked for, and no fewer.
    count = max(JUMPS, int(os.environ.get("KSPAWN_JUMPS", JUMPS)))
    made = lab.machine(run_folder / "plain-jump", timeline=new_timeline())
    with recorded(lab, made, request) as machine:
        machine.boot()
        holder = Witness.start(machine)
        before = verdict.observe(machine)
        first = read(machine)
        # The first ones warm up what stays, such as slabs.
        plain_jump.jump(machine, stay=True)
        plain_jump.jump_again(machine)
        taken = [read(machine)]
        for number in range(count):
            back = (
                plain_jump.jump_again(machine)
                if number % 2
                else plain_jump.jump(machine, stay=True)
            )
            assert back["outcome"] == "plain"
            taken.append(read(machine))
        plain_jump.release(machine)
        last = read(machine)
        checks = verdict.userland_checks(machine, holder, before)
        checks += verdict.kernel_checks(machine, before)
        machine.close()
        checks += verdict.log_checks(machine)
        yield Jumped(machine, checks, first, taken, last)


def entered(machine: Machine) -> list[tuple[str, str]]:
    """How the spawned kernels were entered, and which they were."""
    return [
        (str(line["event"]), str(line["boot_id"]))
        for line in machine.status_lines
        if line["role"] == "hibernating" and line["event"] in ("init", "again")
    ]


def test_all_goes_on(jumped: Jumped) -> None:
    """The witness, every process by /proc, the kernel, and its logs."""
    verdict.require(jumped.checks)


def test_one_life(jumped: Jumped) -> None:
    assert len(jumped.machine.lives) == 1


def test_entries_alternate(jumped: Jumped) -> None:
    seen = entered(jumped.machine)
    assert len(seen) == len(jumped.readings) + 1 >= JUMPS + 2
    starts = [boot_id for event, boot_id in seen if event == "init"]
    assert len(set(starts)) == len(starts), "each start is a kernel anew"
    for (event, boot_id), (earlier, earlier_id) in zip(seen[1:], seen, strict=False):
        assert event != earlier
        if event == "again":
            assert boot_id == earlier_id, "it is the kernel that was left"


def test_nothing_leaks(jumped: Jumped) -> None:
    """A kernel is loaded at every other one of these, and takes the same."""
    verdict.require(readings.leak_checks(jumped.readings))


def test_kept_kernel_takes_memory_until_it_is_released(jumped: Jumped) -> None:
    """The control: what a jump leaves loaded is seen, and is given back."""
    held = jumped.last.available_kb - jumped.readings[-1].available_kb
    assert held > SPAWNED_KB // 2
    assert jumped.first.available_kb - jumped.last.available_kb < SLACK_KB


def test_clocks(jumped: Jumped) -> None:
    verdict.require(readings.clock_checks(jumped.readings))


@pytest.mark.ci
def test_one_kernel_is_entered_again_and_again(machine: Machine) -> None:
    machine.boot()
    holder = Witness.start(machine)
    machine.run("sleep 100000 </dev/null >/dev/null 2>&1 &").check()
    before = verdict.observe(machine)
    plain_jump.jump(machine, stay=True)
    for _ in range(5):
        assert plain_jump.jump_again(machine)["outcome"] == "plain"
    lines = [line for line in machine.status_lines if line["event"] == "again"]
    assert [line["times"] for line in lines] == [1, 2, 3, 4, 5]
    assert len({boot_id for _, boot_id in entered(machine)}) == 1
    verdict.require(verdict.userland_checks(machine, holder, before))
    # The mutation: what is lost is seen, and alone.
    machine.run("killall sleep").check()
    holder.damage("tcp")
    checks = verdict.userland_checks(machine, holder, before)
    failed = [check.name for check in checks if not check.ok]
    assert failed == ["witness.tcp", "proc.processes"]


def test_hibernation_after_a_kept_kernel(machine: Machine) -> None:
    """What was kept is given up, and a kernel is loaded that saves the image."""
    machine.boot()
    holder = Witness.start(machine)
    before = verdict.observe(machine)
    plain_jump.jump(machine, stay=True)
    plain_jump.jump_again(machine)
    machine.hibernate()
    assert machine.resume()["outcome"] == "image"
    checks = verdict.userland_checks(machine, holder, before)
    verdict.require([*checks, *verdict.kernel_checks(machine, before)])


def test_nothing_to_enter_again(machine: Machine) -> None:
    machine.boot()
    plain_jump.jump(machine)
    with pytest.raises(StateError, match="kept"):
        plain_jump.jump_again(machine)
