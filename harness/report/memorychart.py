# SPDX-License-Identifier: GPL-2.0-only
"""The memory map of the report: what was where in RAM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.record.result import MemoryMap, Range
from harness.report.frame import Frame, Mark
from harness.report.page import MIB, mib

LOW_END = 16 * MIB
"""The end of the memory that the spawned kernels live in."""

TRACKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("firmware", ("System RAM", "reserved")),
    ("kernels", ("spawned", "backup", "hot-added")),
    ("image", ("saved", "zero", "free")),
    ("way back", ("swap_pages", "/dev/mem", "kexec_load", "/dev/snapshot")),
    ("audit", ("unexplained",)),
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
    "zero": "in the hibernation image, marked as full of one byte, nearly always zero",
    "free": "free pages, left out of the image",
    "swap_pages": "brought back from the backup area by the normal kernel, at the jump back",
    "/dev/mem": "restored through /dev/mem",
    "kexec_load": "restored in place, by kexec_load",
    "/dev/snapshot": "restored through /dev/snapshot",
    "unexplained": "not as it was, without a reason: see the audit",
}

# Where the name of a kind is no name of a style.
_STYLES = {
    "System RAM": "ram",
    "swap_pages": "swap",
    "/dev/mem": "devmem",
    "kexec_load": "inplace",
    "/dev/snapshot": "snapshot",
}


def _binary_step(span: int, max_ticks: int) -> int:
    step = 1
    while span / step > max_ticks:
        step *= 2
    return step


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
