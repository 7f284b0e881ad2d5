# SPDX-License-Identifier: GPL-2.0-only
"""Is each clock right after a power-off of known length, and does each timer go off then?

The RTC of the machine is moved on by an hour while the power is off. clock_gettime(2):
CLOCK_MONOTONIC does not count the time in which the system is suspended, CLOCK_BOOTTIME
and CLOCK_REALTIME do. So do their timers, and those of the alarm clocks.
"""

from __future__ import annotations

import json
import time

import pytest

from harness.cycle.seen import kernel_state
from harness.machine.machine import Machine
from harness.ways import registry

# A machine from a kept state has been away once already.
pytestmark = [pytest.mark.vm, pytest.mark.cold]

AWAY = 3600
# The RTC counts whole seconds.
MAY_BE_OFF = 3.0
COUNT_ON = {"boottime", "realtime", "boottime-alarm", "realtime-alarm"}
WAYS = [
    pytest.param(way.name, marks=pytest.mark.ci if way.name == registry.DEFAULT else [])
    for way in registry.every()
    if way.back is not None and way.by_default
]


def gone_off(machine: Machine) -> set[str]:
    return set(machine.run("cat /run/witness.alarms").check().split())


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("away", [AWAY, 0], ids=["an hour", "the control: no time"])
def test_an_hour_away(machine: Machine, name: str, away: int) -> None:
    way = registry.get(name)
    way.start(machine, "")
    armed = set(json.loads(machine.run(f"witness alarms {AWAY // 2}").check())["armed"])
    assert {"monotonic", "boottime", "realtime"} <= armed
    before = kernel_state(machine).clocks
    way.leave(machine, "")
    machine.qemu.clock_ahead = away
    assert way.back is not None
    way.back(machine, "")
    now = kernel_state(machine).clocks
    gone = now.host - before.host + away
    assert abs(now.realtime - before.realtime - gone) < MAY_BE_OFF
    assert abs(now.boottime - before.boottime - gone) < MAY_BE_OFF
    assert 0 < now.monotonic - before.monotonic < now.host - before.host + MAY_BE_OFF
    wanted = armed & COUNT_ON if away else set()
    # What is overdue goes off at once, by the interrupt that brings the tick back.
    until = time.monotonic() + 10
    while gone_off(machine) != wanted and time.monotonic() < until:
        time.sleep(0.2)
    assert gone_off(machine) == wanted
