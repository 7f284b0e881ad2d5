# SPDX-License-Identifier: GPL-2.0-only
"""Timers of systemd: one by CLOCK_MONOTONIC, one by the time of day.

Each tick notes when systemd saw that it was due. The first kind goes on for the rest of its
time, as that clock stands still meanwhile; of the second, those that were missed come once,
right after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from applications.application import Application, drop_line, lines, run

# As in the units.
INTERVAL, CALENDAR = 8.0, 10
# How late a tick may be, under an emulator that has much to do.
_LATE = 7.0
# Steps of the clocks that are none of a sleep.
_STEP = 0.5


@dataclass(frozen=True)
class Tick:
    """When systemd saw that it was due, by two clocks, in seconds."""

    monotonic: float
    realtime: float

    @classmethod
    def from_line(cls, line: str) -> Tick:
        """Read what its service noted: two properties of D-Bus, in microseconds."""
        _, monotonic, _, realtime = line.split()
        return cls(int(monotonic) / 1e6, int(realtime) / 1e6)


class Timers(Application):
    """Both timers; their services end at once."""

    name = "timers"
    units = ("kspawn-interval.timer", "kspawn-calendar.timer")
    least = 1

    def ticks(self, kind: str) -> list[Tick]:
        """What the ticks of a timer noted."""
        # A service that is late finds the next tick, as does that of the next one; or that
        # its timer was stopped, and knows of none.
        noted = dict.fromkeys(map(Tick.from_line, lines(self.folder / kind)))
        return [tick for tick in noted if tick.monotonic]

    def progress(self) -> int:
        """The ticks of the slower one."""
        return min(len(self.ticks("interval")), len(self.ticks("calendar")))

    def settle(self) -> None:
        """Stop them."""
        for unit in self.units:
            run("systemctl", "stop", unit)

    def judge(self) -> list[str]:
        """Look at the time between ticks."""
        return [*interval(self.ticks("interval")), *calendar(self.ticks("calendar"))]

    @property
    def damages(self) -> Mapping[str, Callable[[], None]]:
        """A tick less, of either."""
        return {
            "interval": lambda: drop_line(self.folder / "interval"),
            "calendar": lambda: drop_line(self.folder / "calendar"),
        }


def interval(ticks: list[Tick]) -> list[str]:
    """What is wrong with ticks by CLOCK_MONOTONIC."""
    wrong = []
    for old, new in pairwise(ticks):
        took = new.monotonic - old.monotonic
        if not INTERVAL - _STEP <= took <= INTERVAL + _LATE:
            wrong.append(f"interval: {took:.1f} s after the tick at {old.monotonic:.1f} s")
    return wrong


def calendar(ticks: list[Tick]) -> list[str]:
    """What is wrong with ticks by the time of day: each multiple has one, but those of a sleep."""
    wrong = []
    for old, new in pairwise(ticks):
        missed = int(new.realtime // CALENDAR) - int(old.realtime // CALENDAR) - 1
        awake = new.monotonic - old.monotonic
        if new.realtime - old.realtime - awake > _STEP:
            # It comes when the kernel is back, whatever time it is then.
            if awake > CALENDAR + _LATE:
                wrong.append(f"calendar: {awake:.1f} s awake until the tick after the sleep")
        elif missed > 0:
            wrong.append(f"calendar: {missed} ticks missed after {old.monotonic:.1f} s")
        elif missed < 0:
            wrong.append(f"calendar: two ticks at once at {old.monotonic:.1f} s")
    return wrong
