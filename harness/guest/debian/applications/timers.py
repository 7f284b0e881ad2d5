# SPDX-License-Identifier: GPL-2.0-only
"""Timers of systemd: one by CLOCK_MONOTONIC, one by the time of day.

Each tick is a service that notes the clocks. The first kind goes on for the rest of its
time, as that clock stands still meanwhile; of the second, those that were missed come
once, right after. A machine that has much to do is late with them, and never too often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from applications.application import Application, drop_line, lines, run

# As in the units, in seconds.
PERIODS = {"interval": 8.0, "calendar": 10.0}
# How late a tick may be, under an emulator whose host has much to do as well.
LATE = 30.0
# More than two clocks that are read one after the other differ by.
_STEP = 0.5
# What systemd says of a unit that was started (sd-messages.h).
_STARTED = "39f53479d3a045ac8e11786248231fbf"


@dataclass(frozen=True)
class Tick:
    """The clocks as of a tick, in seconds."""

    monotonic: float
    boottime: float
    realtime: float

    @property
    def away(self) -> float:
        """How long the kernel had slept until then."""
        return self.boottime - self.monotonic


class Timers(Application):
    """Both timers; their services end at once."""

    name = "timers"
    units = ("kspawn-interval.timer", "kspawn-calendar.timer")
    least = 1

    def ticks(self, kind: str) -> list[Tick]:
        """What the ticks of a timer noted, each once."""
        noted = dict.fromkeys(lines(self.folder / kind))
        return [Tick(*map(float, line.split())) for line in noted]

    def progress(self) -> int:
        """The ticks of the slower one."""
        return min(len(self.ticks(kind)) for kind in PERIODS)

    def settle(self) -> None:
        """Stop them, and wait for the services of the last ticks."""
        run("systemctl", "stop", *self.units)
        services = [f"kspawn-{kind}.service" for kind in PERIODS]
        while "activating" in run("systemctl", "show", "-P", "ActiveState", *services):
            time.sleep(_STEP)
        run("journalctl", "--sync")

    def judge(self) -> list[str]:
        """Look at the time between ticks, and at how often systemd says that it ticked."""
        wrong = []
        for kind, period in PERIODS.items():
            ticks = self.ticks(kind)
            wrong += [f"{kind}: {line}" for line in regular(ticks, period)]
            unit = f"UNIT=kspawn-{kind}.service"
            told = run("journalctl", "-q", "-o", "cat", f"MESSAGE_ID={_STARTED}", unit)
            if len(told.splitlines()) != len(ticks):
                wrong.append(f"{kind}: {len(ticks)} ticks, of {len(told.splitlines())}")
        return wrong

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A tick less, of either."""
        return {
            "interval": lambda: drop_line(self.folder / "interval"),
            "calendar": lambda: drop_line(self.folder / "calendar"),
        }


def regular(ticks: list[Tick], period: float) -> list[str]:
    """What is wrong with the times of ticks.

    Args:
        ticks: All of them.
        period: How much of CLOCK_MONOTONIC there is from one to the next; a sleep may have it
            come earlier, once.
    """
    wrong = []
    sleeps = 0
    for old, new in pairwise(ticks):
        sleeps += new.away - old.away > _STEP
        took = new.monotonic - old.monotonic
        if not 0 < took <= period + LATE:
            wrong.append(f"{took:.1f} s awake after the tick at {old.monotonic:.1f} s")
    # The first and the last may be early and late.
    awake = ticks[-1].monotonic - ticks[0].monotonic if ticks else 0.0
    if len(ticks) > awake / period + 2 + sleeps:
        wrong.append(f"{len(ticks)} ticks in {awake:.1f} s awake")
    return wrong
