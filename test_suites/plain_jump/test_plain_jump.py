# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel jump into another and straight back, again and again?

No power off, no image: 25 jumps in one life of the normal kernel. Nothing may
leak, and the clocks must behave.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.lab import Lab
from harness.machine import Machine
from harness.suite import SLACK_KB, Reading, read
from harness.timeline import Timeline
from harness.witness import Witness

pytestmark = [pytest.mark.vm]

JUMPS = 25


@dataclass
class Jumped:
    """A machine after its jumps."""

    machine: Machine
    witness: Witness
    before: Reading
    readings: list[Reading]


@pytest.fixture(scope="module")
def jumped(lab: Lab, run_folder: Path, new_timeline: Callable[[], Timeline]) -> Iterator[Jumped]:
    count = int(os.environ.get("KSPAWN_JUMPS", JUMPS))
    with lab.machine(run_folder / "plain-jump", timeline=new_timeline()) as machine:
        machine.boot()
        witness = Witness.start(machine)
        machine.jump()  # the first one warms up what stays, such as slabs
        before = read(machine)
        readings = []
        for _ in range(count):
            assert machine.jump()["outcome"] == "plain"
            readings.append(read(machine))
        yield Jumped(machine, witness, before, readings)


def test_witness_is_whole(jumped: Jumped) -> None:
    assert [check for check in jumped.witness.check() if not check.ok] == []


def test_one_life(jumped: Jumped) -> None:
    assert len(jumped.machine.lives) == 1
    ids = {line["boot_id"] for line in jumped.machine.status_lines if line["event"] == "init"}
    assert len(ids) == len(jumped.readings) + 1, "each jump starts a kernel anew"


def test_no_memory_leaks(jumped: Jumped) -> None:
    lost = jumped.before.available_kb - jumped.readings[-1].available_kb
    assert lost < SLACK_KB, [reading.available_kb for reading in jumped.readings]


def test_no_files_leak(jumped: Jumped) -> None:
    assert jumped.readings[-1].files <= jumped.before.files + 8


def test_monotonic_does_not_run_backwards_nor_ahead(jumped: Jumped) -> None:
    last = jumped.before
    for reading in jumped.readings:
        away = reading.host - last.host
        assert last.monotonic < reading.monotonic <= last.monotonic + away + 0.5
        last = reading


def test_boottime_counts_the_time_away(jumped: Jumped) -> None:
    """CLOCK_BOOTTIME goes on while CLOCK_MONOTONIC stands still (time(7))."""
    last = jumped.before
    for reading in jumped.readings:
        gone = reading.boottime - last.boottime
        assert gone >= reading.monotonic - last.monotonic - 0.01
        assert gone <= reading.host - last.host + 2.0
        last = reading


def test_realtime_is_right(jumped: Jumped) -> None:
    """It follows the RTC, which counts in seconds: within 2 s of the host's."""
    last, first = jumped.readings[-1], jumped.before
    assert last.realtime - first.realtime == pytest.approx(last.host - first.host, abs=2.0)
