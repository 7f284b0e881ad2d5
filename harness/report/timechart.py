# SPDX-License-Identifier: GPL-2.0-only
"""The timeline of the report, drawn: what happened when, in which boot.

The numbers are laid out here, the templates draw them. Each drawing is laid out
twice, for a wide page and for a phone, as text in an SVG does not reflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.record.result import Result
from harness.record.timeline import Event, Phase
from harness.report.frame import CHARACTER, Frame, Mark, nice_step
from harness.report.page import ROLES, duration, shorten


@dataclass
class Bar:
    """A phase in the timeline."""

    x: float
    width: float
    row: int
    role: str
    failed: bool
    label: str
    label_x: float
    anchor: str
    inside: bool
    title: str
    y: float = 0


@dataclass
class Lane:
    """One life of the machine, or the time between two."""

    title: str
    bars: list[Bar]
    off: bool = False
    y: float = 0
    height: float = 0


@dataclass
class Flag:
    """An event in the timeline: a tick, and a label below, in a row where no other one is."""

    x: float
    label: str
    label_x: float
    anchor: str
    row: int | None
    """None where there are too many labels around: only the tick is drawn then."""
    title: str
    y: float = 0

    @property
    def span(self) -> float:
        """The width of the label with the space around it."""
        return len(self.label) * CHARACTER + 6

    @property
    def extent(self) -> tuple[float, float]:
        """From where to where the label goes."""
        return (
            (self.x, self.x + self.span) if self.anchor == "start" else (self.x - self.span, self.x)
        )

    def overlaps(self, other: Flag) -> bool:
        """Whether the two labels would meet if they were in the same row."""
        return self.extent[0] <= other.extent[1] and other.extent[0] <= self.extent[1]

    def crosses(self, other: Flag, row: int) -> bool:
        """Whether in a row the line of one would go through the label of the other."""
        if other.row is None or other.row == row:
            return False
        above, below = (self, other) if row < other.row else (other, self)
        first, last = above.extent
        return first + 2.5 <= below.x <= last - 2.5  # the text begins 3 from its line


@dataclass
class Chart:
    """A timeline, laid out for one frame."""

    frame: Frame
    title: str
    start: float
    end: float
    lanes: list[Lane]
    marks: list[Mark]
    flags: list[Flag]
    axis_y: float
    height: float


ROW = 25
BAR = 20
LANE_PAD = 6
FLAG_ROW = 17
MAX_FLAG_ROWS = 14


def _place_label(text: str, x0: float, x1: float, frame: Frame) -> tuple[str, float, str, bool]:
    """Put the label of a bar into it, right of it or left of it, wherever it fits first."""
    inside, right, left = x1 - x0 - 10, frame.right - x1 - 5, x0 - frame.left - 5
    need = len(text) * CHARACTER
    places = [
        (inside, (x0 + x1) / 2, "middle", True),
        (right, x1 + 5, "start", False),
        (left, x0 - 5, "end", False),
    ]
    room, x, anchor, is_inside = next((p for p in places if p[0] >= need), max(places))
    return shorten(text, int(room / CHARACTER)), x, anchor, is_inside


def _lane(
    title: str, phases: Iterable[Phase], frame: Frame, x_of: Callable[[float], float]
) -> Lane:
    """Pack phases into as few rows as their bars and labels allow."""
    lane = Lane(title, [])
    rows: list[list[tuple[float, float]]] = []
    for phase in sorted(phases, key=lambda p: p.start):
        x0 = x_of(phase.start)
        x1 = max(x_of(_end(phase)), x0 + 1.5)
        failed = phase.outcome != "ok"
        took = f" {duration(phase.seconds)}" if phase.seconds >= 0.001 else ""
        text = f"{'✗ ' if failed else ''}{phase.name}{took}"
        label, label_x, anchor, inside = _place_label(text, x0, x1, frame)
        span = len(label) * CHARACTER
        first = min(x0, label_x - span) if anchor == "end" else x0
        last = max(x1, label_x + span) if anchor == "start" else x1
        row = 0
        while row < len(rows) and any(first - 4 <= b and a <= last + 4 for a, b in rows[row]):
            row += 1
        if row == len(rows):
            rows.append([])
        rows[row].append((first, last))
        title_text = (
            f"{phase.name}, {ROLES.get(phase.kernel, phase.kernel)}, boot {phase.boot}: "
            f"{duration(phase.seconds)} from {phase.start:.2f} s, {phase.outcome}"
        )
        role = phase.kernel if phase.kernel in ROLES else "other"
        lane.bars.append(
            Bar(x0, x1 - x0, row, role, failed, label, label_x, anchor, inside, title_text)
        )
    lane.height = max(len(rows), 1) * ROW + LANE_PAD
    return lane


def _end(phase: Phase) -> float:
    return phase.start + max(phase.seconds, 0.0)


def _gap(before: Sequence[Phase], after: Sequence[Phase]) -> Phase | None:
    """The time between two lives of the machine, as a phase."""
    start, end = max(_end(p) for p in before), min(p.start for p in after)
    if end <= start:
        return None
    return Phase(name="off", boot=after[0].boot, kernel="off", start=start, seconds=end - start)


def _flags(events: Sequence[Event], frame: Frame, x_of: Callable[[float], float]) -> list[Flag]:
    """Place the labels of events: none meets another one, and hardly any the line to another one.

    Labels go right of their lines, placed from the right. Those that would leave the
    page there go left, placed from the left, and so do those that would meet the line of
    one that does, if they can.
    """
    flags = []
    limit = frame.width
    for event in sorted(events, key=lambda e: e.at, reverse=True):
        title = f"{event.name} at {event.at:.2f} s {event.detail}".rstrip()
        x = x_of(event.at)
        room = int((max(x, frame.width - x) - 6) / CHARACTER)
        flag = Flag(x, shorten(event.name, room), 0, "start", None, title)
        if x + flag.span > frame.width or (x - flag.span >= 0 and x + flag.span > limit):
            flag.anchor = "end"
            limit = x
        flag.label_x = flag.x + (3 if flag.anchor == "start" else -3)
        flags.append(flag)
    flags.reverse()
    rightward = [f for f in flags if f.anchor == "start"]
    placed: list[Flag] = []
    for flag in rightward[::-1] + [f for f in flags if f.anchor == "end"]:
        taken = {f.row for f in placed if flag.overlaps(f)}
        choices = [
            (sum(flag.crosses(f, row) for f in placed), row)
            for row in range(MAX_FLAG_ROWS)
            if row not in taken
        ]
        if choices:
            flag.row = min(choices)[1]
            placed.append(flag)
    return flags


def chart(
    title: str, phases: Sequence[Phase], events: Sequence[Event], frame: Frame, start: float = 0.0
) -> Chart:
    """Lay out a timeline.

    Args:
        title: What it shows.
        phases: The phases to draw, all with finite times.
        events: The events to draw, all with finite times.
        frame: The page to lay it out for.
        start: Where the axis begins, in seconds, unless something came before.
    """
    times = [t for p in phases for t in (p.start, _end(p))] + [e.at for e in events]
    start = min([start, *times])
    end = max([start, *times])
    if end - start < 1e-6:
        end = start + 1
    scale = (frame.right - frame.left) / (end - start)

    def x_of(seconds: float) -> float:
        return frame.left + (seconds - start) * scale

    lanes = _lanes(phases, frame, x_of)
    axis_y = _stack(lanes, frame)
    marks = _marks(start, end, frame, x_of)
    flags = _flags(events, frame, x_of)
    for flag in flags:
        flag.y = axis_y + 36 + (flag.row or 0) * FLAG_ROW
    rows = 1 + max((f.row for f in flags if f.row is not None), default=-1)
    height = axis_y + 24 + (rows * FLAG_ROW + 10 if flags else 0)
    return Chart(frame, title, start, end, lanes, marks, flags, axis_y, height)


def _lanes(phases: Sequence[Phase], frame: Frame, x_of: Callable[[float], float]) -> list[Lane]:
    """A lane for each boot, and one for each time that the power was off."""
    lanes: list[Lane] = []
    lives = {
        boot: [p for p in phases if p.boot == boot] for boot in sorted({p.boot for p in phases})
    }
    before: list[Phase] = []
    for boot, life in lives.items():
        gap = _gap(before, life) if before else None
        if gap:
            lane = _lane("power off", [gap], frame, x_of)
            lane.off = True
            lane.bars[0].role = "off"
            lane.bars[0].title = f"power off: {duration(gap.seconds)} from {gap.start:.2f} s"
            lanes.append(lane)
        lanes.append(_lane(f"boot {boot}" if boot > 0 else "host", life, frame, x_of))
        before = life if boot > 0 else []
    return lanes


def _stack(lanes: Sequence[Lane], frame: Frame) -> float:
    """Place lanes one below the other; where the last one ends."""
    y = 2.0
    for lane in lanes:
        header = 0 if frame.gutter else 17
        lane.y = y
        lane.height += header
        for bar in lane.bars:
            bar.y = y + header + LANE_PAD / 2 + bar.row * ROW + (ROW - BAR) / 2
        y += lane.height + 4
    return y


def _marks(start: float, end: float, frame: Frame, x_of: Callable[[float], float]) -> list[Mark]:
    """The marks of the axis, at round seconds."""
    step = nice_step(end - start, frame.max_ticks)
    digits = max(0, -math.floor(math.log10(step)))
    first = math.ceil(start / step - 1e-9)
    marks = [
        Mark(x_of(n * step), f"{n * step:.{digits}f} s")
        for n in range(first, math.floor(end / step + 1e-9) + 1)
    ]
    for mark in marks:
        if mark.x > frame.width - 22:
            mark.anchor = "end"
        elif mark.x < 20:
            mark.anchor = "start"
    return marks


def charts(result: Result, frame: Frame) -> list[Chart]:
    """Lay out the timeline of a run.

    A first run builds kernels for minutes before it boots them for seconds:
    what came long before the first boot then gets a drawing of its own.
    """
    phases = [p for p in result.phases if math.isfinite(p.start) and math.isfinite(p.seconds)]
    events = [e for e in result.events if math.isfinite(e.at)]
    if not phases and not events:
        return []
    lives = [p for p in phases if p.boot > 0]
    if lives:
        power_on = min(p.start for p in lives)
        early = [p for p in phases if p.boot <= 0 and _end(p) <= power_on]
        if early and power_on > 0.6 * max(_end(p) for p in lives):
            late = [p for p in phases if p not in early]
            return [
                chart("Before power on", early, [e for e in events if e.at < power_on], frame),
                chart("The boots", late, [e for e in events if e.at >= power_on], frame, power_on),
            ]
    return [chart("", phases, events, frame)]
