# SPDX-License-Identifier: GPL-2.0-only
"""The drawings of a night's pages: strips of verdicts, and curves over nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from harness.night.model import Verdict
from harness.night.store import Night

# A cell of a strip, and the size of a chart, in the units of their view boxes.
CELL = 10
WIDTH, HEIGHT = 320, 120
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 20
SIZE = (WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM)


# --- Strips: a test over the nights -------------------------------------------


@dataclass(frozen=True)
class Run:
    """Neighbours of the same colour in a strip."""

    x: int
    width: int
    verdict: str
    title: str


@dataclass(frozen=True)
class Strip:
    """A row of nights."""

    runs: tuple[Run, ...]
    width: int
    label: str


def strip(nights: Sequence[Night], entries: dict[int, Verdict]) -> Strip:
    """A row of nights, neighbours with the same verdict drawn as one.

    Args:
        nights: All nights, in order.
        entries: The verdict by night, where there is one.
    """
    verdicts = [entries.get(night.id) for night in nights]
    runs, position = [], 0
    for verdict, group in groupby(verdicts):
        length = len(list(group))
        if verdict is not None:
            first, last = nights[position], nights[position + length - 1]
            when = day(first.started) + (f" to {day(last.started)}" if length > 1 else "")
            title = f"{when}: {verdict.value}"
            runs.append(Run(position * CELL, length * CELL - 1, verdict.value, title))
        position += length
    counts = [f"{verdicts.count(v)} {v.value}" for v in Verdict if v in verdicts]
    return Strip(tuple(runs), len(nights) * CELL, ", ".join(counts))


# --- Charts: a figure over the runs -------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A tick of an axis, with its text."""

    position: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A line over the runs; gaps are runs without a value."""

    title: str
    latest: str
    lines: tuple[str, ...]
    dots: tuple[tuple[float, float, str], ...]
    marks: tuple[Mark, ...]
    days: tuple[Mark, ...]
    change: str


def chart(
    title: str, dates: Sequence[datetime], values: Sequence[float | None], unit: str
) -> Chart | None:
    """A chart of a figure, or None where there is no value.

    Args:
        title: What it shows.
        dates: When each run began, in order.
        values: One a run.
        unit: Of the values.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    top = _ceiling(max(known))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(dates) - 1)

    def place(index: int, value: float) -> tuple[float, float]:
        x = LEFT + index * step if len(dates) > 1 else (LEFT + WIDTH - RIGHT) / 2
        return round(x, 1), round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    points = [
        (*place(index, value), f"{day(date)}: {number(value)} {unit}")
        for index, (date, value) in enumerate(zip(dates, values, strict=True))
        if value is not None
    ]
    return Chart(
        title=title,
        latest=f"{number(known[-1])} {unit}",
        lines=tuple(_lines(values, place)),
        dots=tuple(points),
        marks=tuple(
            Mark(place(0, value)[1], number(value)) for value in (0.0, top / 2, float(top))
        ),
        days=tuple(
            Mark(place(index, 0)[0], dates[index].strftime("%d %b"))
            for index in sorted({0, len(dates) - 1})
        ),
        change=_change(known),
    )


def _lines(values: Sequence[float | None], place: Any) -> list[str]:
    lines: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append("{},{}".format(*place(index, value)))
    return [" ".join(line) for line in lines if len(line) > 1]


def _ceiling(value: float) -> float:
    """The next 1, 2 or 5 of its power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.01
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


def _change(known: Sequence[float]) -> str:
    """The last value beside the median of the ones before: noise is no trend."""
    if len(known) < 4:
        return ""
    before = sorted(known[:-1])
    median = before[len(before) // 2]
    if not median:
        return ""
    change = 100 * (known[-1] / median - 1)
    return f"{change:+.0f} % against the median" if abs(change) >= 1 else "as the median"


def number(value: float) -> str:
    """A number with no more digits than are of use."""
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def day(when: datetime) -> str:
    """A day, as the pages write it."""
    return when.strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """A duration for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
