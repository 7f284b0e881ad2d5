# SPDX-License-Identifier: GPL-2.0-only
"""The drawings of the report: the timeline and the memory map.

The numbers are laid out here, the templates draw them. Each drawing is laid out
twice, for a wide page and for a phone, as text in an SVG does not reflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.record.result import MemoryMap, Range, Result
from harness.record.timeline import Event, Phase
from harness.report.page import MIB, ROLES, duration, mib, shorten

LOW_END = 16 * MIB
"""The end of the memory that the spawned kernels live in."""

TRACKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("firmware", ("System RAM", "reserved")),
    ("kernels", ("spawned", "backup", "hot-added")),
    ("image", ("saved", "zero", "free")),
    ("way back", ("swap_pages", "/dev/mem", "kexec_load", "/dev/snapshot")),
)
"""Kinds of ranges that exclude each other share a track of the memory map.

Where two kinds cover as much of a column, the one named first is drawn.
"""

KIND_MEANING = {
    "System RAM": "RAM, by the firmware's map",
    "reserved": "reserved, by the firmware's map",
    "spawned": "0-16 MiB, where the spawned kernel runs",
    "backup": "backup area, where the normal kernel's 0-16 MiB waits",
    "hot-added": "memory that the resuming kernel took when there was no image",
    "saved": "in the hibernation image, with content",
    "zero": "in the hibernation image, marked as zero",
    "free": "free pages, left out of the image",
    "swap_pages": "brought back from the backup area by the normal kernel, at the jump back",
    "/dev/mem": "restored through /dev/mem",
    "kexec_load": "restored in place, by kexec_load",
    "/dev/snapshot": "restored through /dev/snapshot",
}

# Where the name of a kind is no name of a style.
_STYLES = {
    "System RAM": "ram",
    "swap_pages": "swap",
    "/dev/mem": "devmem",
    "kexec_load": "inplace",
    "/dev/snapshot": "snapshot",
}


@dataclass(frozen=True)
class Frame:
    """The page that a drawing is laid out for; a unit is a pixel at that width."""

    name: str
    width: float
    gutter: float
    """Room for the names of lanes at the left; without it they go above."""
    max_ticks: int

    @property
    def left(self) -> float:
        """Where the drawing proper begins."""
        return self.gutter + 6

    @property
    def right(self) -> float:
        """Where the drawing proper ends."""
        return self.width - 10


WIDE = Frame("wide", 1060, 96, 10)
NARROW = Frame("narrow", 392, 0, 4)

CHARACTER = 7.1
"""Width of a character of a label, on the safe side."""


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
class Mark:
    """A point on an axis."""

    x: float
    label: str
    detail: str = ""
    anchor: str = "middle"


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


def nice_step(span: float, max_ticks: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that makes few enough ticks."""
    step: float = 10.0 ** math.floor(math.log10(span / max_ticks))
    for factor in (1, 2, 5):
        if span / (step * factor) <= max_ticks:
            return step * factor
    return step * 10


def _binary_step(span: int, max_ticks: int) -> int:
    step = 1
    while span / step > max_ticks:
        step *= 2
    return step


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

    y = 2.0
    for lane in lanes:
        header = 0 if frame.gutter else 17
        lane.y = y
        lane.height += header
        for bar in lane.bars:
            bar.y = y + header + LANE_PAD / 2 + bar.row * ROW + (ROW - BAR) / 2
        y += lane.height + 4

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
    flags = _flags(events, frame, x_of)
    axis_y = y
    for flag in flags:
        flag.y = axis_y + 36 + (flag.row or 0) * FLAG_ROW
    rows = 1 + max((f.row for f in flags if f.row is not None), default=-1)
    height = axis_y + 24 + (rows * FLAG_ROW + 10 if flags else 0)
    return Chart(frame, title, start, end, lanes, marks, flags, axis_y, height)


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


# Memory


@dataclass
class Cell:
    """Neighbouring columns of a memory map that look the same."""

    x: float
    width: float
    kind: str
    density: int
    """How much of the columns is covered, from 1 to 4."""
    title: str


@dataclass
class Track:
    """One row of a strip: kinds of ranges that exclude each other."""

    name: str
    cells: list[Cell]
    y: float = 0


@dataclass
class Strip:
    """A stretch of the physical address space."""

    title: str
    start: int
    end: int
    tracks: list[Track]
    marks: list[Mark]
    title_y: float = 0
    axis_y: float = 0
    y: float = 0
    bottom: float = 0


@dataclass
class MemoryChart:
    """A memory map, laid out for one frame: all of it, and 0-16 MiB enlarged below."""

    frame: Frame
    strips: list[Strip]
    low_x: float
    """Where 16 MiB is in the first strip."""
    height: float


@dataclass
class KindSum:
    """All ranges of a kind together."""

    kind: str
    css: str
    meaning: str
    ranges: int
    total: int
    first: int
    last: int


TRACK_HEIGHT = 20


def _css_of(kind: str) -> str:
    return _STYLES.get(kind, kind if kind in KIND_MEANING else "unknown")


def _usable(ranges: Iterable[Range]) -> list[Range]:
    return [r for r in ranges if 0 <= r.start < r.end]


def address_space_end(memory: MemoryMap) -> int:
    """The end of what the map draws: of RAM, which may have a hole and end above its size."""
    ends = (r.end for r in _usable(memory.ranges) if r.what != "reserved")
    return max([memory.ram_bytes, 0, *ends])


def columns(
    ranges: Sequence[Range], kinds: Sequence[str], start: int, end: int, count: int
) -> list[tuple[str, int, int, int] | None]:
    """Find for each column of a strip the kind that covers most of it.

    Args:
        ranges: Any number of ranges, in any order.
        kinds: The kinds that compete; of equals, the first wins.
        start: First address of the strip.
        end: Its end.
        count: How many columns it has.

    Returns:
        For each column None, or kind, density (1 to 4), and the lowest and the
        highest address of that kind in it.
    """
    width = (end - start) / count
    covered: list[dict[str, tuple[float, int, int]]] = [{} for _ in range(count)]
    for item in ranges:
        low, high = max(item.start, start), min(item.end, end)
        if item.what not in kinds or low >= high:
            continue
        first = int((low - start) / width)
        last = min(math.ceil((high - start) / width), count)
        for column in range(min(first, count - 1), last):
            a = max(low, int(start + column * width))
            b = min(high, int(start + (column + 1) * width))
            if a >= b:
                continue
            total, lowest, highest = covered[column].get(item.what, (0, a, b))
            covered[column][item.what] = (total + b - a, min(lowest, a), max(highest, b))
    found: list[tuple[str, int, int, int] | None] = []
    for cover in covered:
        if not cover:
            found.append(None)
            continue
        kind = max(cover, key=lambda k: (cover[k][0], -kinds.index(k)))
        density = sum(c[0] for c in cover.values()) / width
        found.append((kind, max(1, min(4, math.ceil(4 * density - 0.04))), *cover[kind][1:]))
    return found


def _cells(
    ranges: Sequence[Range], kinds: Sequence[str], start: int, end: int, frame: Frame
) -> list[Cell]:
    count = int(frame.right - frame.left)
    width = (frame.right - frame.left) / count
    cells: list[Cell] = []
    run: tuple[str, int] | None = None
    first = last = 0
    for n, found in enumerate(columns(ranges, kinds, start, end, count)):
        look = found[:2] if found else None
        if found and look == run:
            cells[-1].width += width
            last = found[3]
        elif found:
            first, last = found[2:]
            cells.append(Cell(frame.left + n * width, width, _css_of(found[0]), found[1], ""))
        run = look
        if found:
            thin = "" if found[1] == 4 else ", in parts"
            where = f"{first:#x} to {last:#x} ({mib(first)} to {mib(last)})"
            cells[-1].title = f"{found[0]}{thin}: {where}"
    return cells


def _strip(title: str, memory: MemoryMap, start: int, end: int, frame: Frame) -> Strip:
    known = {kind for _, kinds in TRACKS for kind in kinds}
    others = tuple(sorted({r.what for r in memory.ranges} - known))
    ranges = _usable(memory.ranges)
    present = {item.what for item in ranges}
    tracks = [track for track in (*TRACKS, ("other", others)) if present.intersection(track[1])]
    strip = Strip(
        title, start, end, [Track(n, _cells(ranges, k, start, end, frame)) for n, k in tracks], []
    )
    # An address takes more room the longer it is.
    ticks = frame.max_ticks if frame.gutter or end <= LOW_END else frame.max_ticks // 2
    step = _binary_step(end - start, ticks)
    scale = (frame.right - frame.left) / (end - start)
    for address in [*range(start, end - step // 2, step), end]:
        x = frame.left + (address - start) * scale
        anchor = "start" if address == start else "end" if address == end else "middle"
        strip.marks.append(Mark(x, mib(address), f"{address:#x}", anchor))
    return strip


def memory_chart(memory: MemoryMap, frame: Frame) -> MemoryChart | None:
    """Lay out a memory map, or None where there is nothing to draw."""
    top = address_space_end(memory)
    if top == 0:
        return None
    strips = []
    if top > LOW_END:
        strips.append(_strip("All of it", memory, 0, top, frame))
    strips.append(_strip("0-16 MiB, enlarged", memory, 0, LOW_END, frame))
    y = 0.0
    header = 0 if frame.gutter else 15
    for n, strip in enumerate(strips):
        above = n == 0 and len(strips) > 1  # its axis is above, the enlargement opens below
        strip.title_y = y + 14
        y += 20
        if above:
            strip.axis_y = y + 24
            y += 36
        strip.y = y
        for track in strip.tracks:
            track.y = y + header
            y += TRACK_HEIGHT + 4 + header
        strip.bottom = y - 4
        if above:
            y += 34
        else:
            strip.axis_y = y + 2
            y += 38
    low_x = frame.left + (frame.right - frame.left) * min(LOW_END / top, 1)
    return MemoryChart(frame, strips, low_x, y)


def kind_sums(memory: MemoryMap) -> list[KindSum]:
    """Sum the ranges up by kind; bytes that two ranges of a kind share count once."""
    order = [kind for _, kinds in TRACKS for kind in kinds]
    ranges = sorted(_usable(memory.ranges), key=lambda r: r.start)
    kinds = sorted({r.what for r in ranges}, key=lambda k: (k not in order, k))
    kinds.sort(key=lambda k: order.index(k) if k in order else len(order))
    sums = []
    for kind in kinds:
        own = [r for r in ranges if r.what == kind]
        total, reached = 0, 0
        for item in own:
            total += max(0, item.end - max(item.start, reached))
            reached = max(reached, item.end)
        meaning = KIND_MEANING.get(kind, "")
        sums.append(KindSum(kind, _css_of(kind), meaning, len(own), total, own[0].start, reached))
    return sums
