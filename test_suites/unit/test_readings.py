# SPDX-License-Identifier: GPL-2.0-only
"""Does each check of the readings fail alone when its own thing is wrong?

The readings are those of 25 real jumps (logs/jumps.jsonl); a mutation changes one
thing in each of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cycle.readings import CLOCK_CHECKS, LEAK_CHECKS, Reading, clock_checks, leak_checks

LOG = Path(__file__).parent / "logs" / "jumps.jsonl"
READINGS = [Reading(**json.loads(line)) for line in LOG.read_text().splitlines()]
FIRST = READINGS[0]


def failed(readings: list[Reading]) -> list[str]:
    checks = [*leak_checks(readings), *clock_checks(readings)]
    assert [check.name for check in checks] == [*LEAK_CHECKS, *CLOCK_CHECKS]
    return [check.name for check in checks if not check.ok]


def test_real_jumps_pass() -> None:
    assert len(READINGS) == 26
    assert failed(READINGS) == []


def memory_is_lost(one: Reading, number: int) -> Reading:
    return replace(one, available_kb=one.available_kb - 200 * number)


def slabs_grow(one: Reading, number: int) -> Reading:
    return replace(one, slab_kb=one.slab_kb + 200 * number)


def a_file_stays_open(one: Reading, number: int) -> Reading:
    return replace(one, files=one.files + number)


def monotonic_goes_back(one: Reading, number: int) -> Reading:
    return replace(one, monotonic=one.monotonic - 5 * (number >= 20))


def monotonic_counts_the_time_away(one: Reading, number: int) -> Reading:
    return replace(one, monotonic=FIRST.monotonic + one.boottime - FIRST.boottime)


def boottime_stands_still(one: Reading, number: int) -> Reading:
    return replace(one, boottime=FIRST.boottime + one.monotonic - FIRST.monotonic)


def boottime_is_ahead(one: Reading, number: int) -> Reading:
    return replace(one, boottime=one.boottime + 0.2 * number)


def boottime_misses_one_jump(one: Reading, number: int) -> Reading:
    return replace(one, boottime=one.boottime - 1.5 * (number == 20))


def realtime_is_an_hour_ahead(one: Reading, number: int) -> Reading:
    return replace(one, realtime=one.realtime + 3600 * (number > 20))


def realtime_stands_still(one: Reading, number: int) -> Reading:
    return replace(one, realtime=FIRST.realtime + one.monotonic - FIRST.monotonic)


@pytest.mark.parametrize(
    ("mutation", "name"),
    [
        (memory_is_lost, "leak.memory"),
        (slabs_grow, "leak.slab"),
        (a_file_stays_open, "leak.files"),
        (monotonic_goes_back, "clock.monotonic"),
        (monotonic_counts_the_time_away, "clock.monotonic"),
        (boottime_stands_still, "clock.boottime"),
        (boottime_is_ahead, "clock.boottime"),
        (boottime_misses_one_jump, "clock.boottime"),
        (realtime_is_an_hour_ahead, "clock.realtime"),
        (realtime_stands_still, "clock.realtime"),
    ],
)
def test_mutation_fails_its_check_alone(
    mutation: Callable[[Reading, int], Reading], name: str
) -> None:
    assert failed([mutation(one, number) for number, one in enumerate(READINGS)]) == [name]
