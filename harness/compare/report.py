# SPDX-License-Identifier: GPL-2.0-only
"""The report of a comparison: one HTML file that needs nothing else.

templates/compare.html.j2 draws it; what it draws is laid out here, for a wide
page and for a phone.

`python -m harness.compare.report results/RUN` draws it again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import files
from harness.compare.model import Comparison, Outcome
from harness.compare.tables import phase_columns, phase_seconds
from harness.report import page
from harness.report.frame import CHARACTER, NARROW, WIDE, Frame, Mark, nice_step
from harness.report.page import MIB, ROLES, duration, shorten

BAR = 20
ROW = 30
NAME_ROW = 18
POINT = 5.0
CURVE_HEIGHT = 330
COLOURS = 8
"""How many colours of curves the style sheet has."""


@dataclass
class Piece:
    """A phase in a bar."""

    x: float
    width: float
    role: str
    failed: bool
    label: str
    title: str


@dataclass
class Line:
    """A way in a chart of bars."""

    name: str
    name_x: float
    name_y: float
    y: float
    pieces: list[Piece]
    end: float
    note: str = ""
    """What stands behind the bar."""
    bad: bool = False
    shown_as_is: bool = False
    """It did not pass, which is no error."""


@dataclass
class BarChart:
    """Bars of all ways with one fill, laid out for one frame."""

    frame: Frame
    title: str
    lines: list[Line]
    marks: list[Mark]
    axis_y: float
    height: float


@dataclass
class Point:
    """One outcome in the chart of sizes."""

    x: float
    y: float
    title: str


@dataclass
class Curve:
    """A way in the chart of sizes."""

    name: str
    colour: int
    points: list[Point]
    same_as: list[str] = field(default_factory=list)
    """Ways whose points are the same, within what a pixel shows."""

    @property
    def path(self) -> str:
        """The line through the points, as SVG has it."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass
class CurveChart:
    """Image sizes by used memory, laid out for one frame."""

    frame: Frame
    curves: list[Curve]
    x_marks: list[Mark]
    y_marks: list[Mark]
    diagonal: tuple[float, float, float, float]
    left: float
    top: float
    bottom: float
    height: float


@dataclass
class GroupRow:
    """A group of checks, by way: how many hold, and how many there are."""

    prefix: str
    names: list[str]
    cells: list[tuple[int, int]]


def _piece(x: float, width: float, one: Outcome, index: int) -> Piece:
    phase = one.phases[index]
    text = f"{phase.name} {duration(phase.seconds)}"
    room = int((width - 6) / CHARACTER)
    label = text if len(text) <= room else phase.name if len(phase.name) <= room else ""
    kernel = ROLES.get(phase.kernel, phase.kernel)
    return Piece(
        x=x,
        width=width,
        role=phase.kernel if phase.kernel in ROLES else "other",
        failed=not phase.ok,
        label=label,
        title=f"{one.way}: {phase.name}, {kernel}: {duration(phase.seconds)}"
        + ("" if phase.ok else ", failed"),
    )


def bar_chart(outcomes: Sequence[Outcome], frame: Frame, *, longest: float, names: int) -> BarChart:
    """Lay out the phases of all ways with one fill.

    Args:
        outcomes: The outcomes with that fill.
        frame: The page to lay it out for.
        longest: Seconds that the axis goes to, the same for all fills.
        names: Characters of the longest name, the same for all fills.
    """
    beside = frame.gutter > 0
    left = names * CHARACTER + 20 if beside else frame.left
    # What stands behind the longest bar.
    room = 21 * CHARACTER if beside else 4
    scale = (frame.right - left - room) / max(longest, 1e-6)
    lines = []
    y = 4.0
    for one in outcomes:
        y += 0 if beside else NAME_ROW
        x, pieces = left, []
        for index, phase in enumerate(one.phases):
            width = max(phase.seconds, 0) * scale
            pieces.append(_piece(x, width, one, index))
            x += width
        lines.append(
            Line(
                name=one.way,
                name_x=8 if beside else frame.left,
                name_y=y + BAR / 2 + 4 if beside else y - 4,
                y=y,
                pieces=pieces,
                end=x,
                note=_note(one, frame, x if beside else frame.left + len(one.way) * CHARACTER + 8),
                bad=one.is_error,
                shown_as_is=not one.passed and not one.is_error,
            )
        )
        y += ROW
    step = nice_step(max(longest, 1e-6), frame.max_ticks)
    marks = [
        Mark(left + number * step * scale, f"{number * step:g} s")
        for number in range(int(longest / step) + 1)
    ]
    if not beside:
        marks[0].anchor = "start"
    return BarChart(frame, f"{outcomes[0].fill} %", lines, marks, y, y + 24)


def _note(one: Outcome, frame: Frame, x: float) -> str:
    ratio = f", {one.ratio:.2f}" if one.ratio is not None else ""
    spent = sum(phase.seconds for phase in one.phases)
    text = (
        f"{duration(spent)}{ratio}"
        if one.passed
        else f"{'✗' if one.is_error else '○'} {one.reason or 'failed'}"
    )
    return shorten(text, max(4, int((frame.right - x - 8) / CHARACTER)))


def bar_charts(comparison: Comparison, frame: Frame) -> list[BarChart]:
    """The phases of all ways, a chart for each fill, on one scale."""
    longest = max((sum(p.seconds for p in one.phases) for one in comparison.outcomes), default=0)
    names = max((len(way) for way in comparison.ways), default=0)
    charts = []
    for fill in comparison.fills:
        outcomes = [one for one in comparison.outcomes if one.fill == fill]
        if outcomes:
            charts.append(bar_chart(outcomes, frame, longest=longest, names=names))
    return charts


def curve_chart(comparison: Comparison, frame: Frame) -> CurveChart | None:
    """Lay out the sizes of images by how much memory was in use.

    Args:
        comparison: What was found.
        frame: The page to lay it out for.

    Returns:
        None where no way has an image.
    """
    sized = [
        (one, one.used_bytes / MIB, one.stored_bytes / MIB)
        for one in comparison.outcomes
        if one.used_bytes is not None and one.stored_bytes is not None
    ]
    if not sized:
        return None
    top_value = max(max(used, stored) for _, used, stored in sized) * 1.05
    left, right, top, bottom = 64.0, frame.right, 12.0, float(CURVE_HEIGHT)

    def x_of(value: float) -> float:
        return left + (right - left) * value / top_value

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * value / top_value

    def curve(colour: int, way: str) -> Curve:
        points = [
            Point(x_of(used), y_of(stored), _sizes(way, stored, used))
            for one, used, stored in sized
            if one.way == way
        ]
        return Curve(way, colour % COLOURS, points)

    found = [curve(colour, way) for colour, way in enumerate(comparison.ways)]
    curves = [one for one in found if one.points]
    step = nice_step(top_value, 6)
    values = [number * step for number in range(int(top_value / step) + 1)]
    every = 1 if frame.gutter else 2
    return CurveChart(
        frame=frame,
        curves=_merged(curves),
        x_marks=[Mark(x_of(value), f"{value:g} MiB") for value in values[::every]],
        y_marks=[Mark(y_of(value), f"{value:g} MiB") for value in values],
        diagonal=(x_of(0), y_of(0), x_of(top_value), y_of(top_value)),
        left=left,
        top=top,
        bottom=bottom,
        height=bottom + 44,
    )


def _sizes(way: str, stored: float, used: float) -> str:
    return f"{way}: {stored:.0f} MiB in the image, {used:.0f} MiB were in use"


def _merged(curves: Sequence[Curve]) -> list[Curve]:
    """Curves that would lie upon each other become one, with all names."""
    found: list[Curve] = []
    for curve in curves:
        for other in found:
            pairs = list(zip(curve.points, other.points, strict=False))
            if len(curve.points) == len(other.points) and all(
                abs(a.x - b.x) < POINT and abs(a.y - b.y) < POINT for a, b in pairs
            ):
                other.same_as.append(curve.name)
                break
        else:
            found.append(curve)
    return found


def group_rows(comparison: Comparison) -> list[GroupRow]:
    """What each way asserts: groups of checks, over all fills together."""
    prefixes: dict[str, list[str]] = {}
    for one in comparison.outcomes:
        for name in one.checks:
            names = prefixes.setdefault(name.partition(".")[0], [])
            if name not in names:
                names.append(name)
    rows = []
    for prefix, names in prefixes.items():
        cells = []
        for way in comparison.ways:
            own = [one for one in comparison.outcomes if one.way == way]
            asked = [one.checks[name] for one in own for name in names if name in one.checks]
            cells.append((sum(asked), len(asked)))
        rows.append(GroupRow(prefix, names, cells))
    return rows


def render(comparison: Comparison) -> str:
    """Draw the report.

    Args:
        comparison: What was found.

    Returns:
        The whole page.
    """
    kernels = {phase.kernel for one in comparison.outcomes for phase in one.phases}
    columns = phase_columns(comparison.outcomes)
    return page.render(
        "compare.html.j2",
        c=comparison,
        failed=comparison.failed,
        refused=[
            one for one in comparison.outcomes if not one.passed and one not in comparison.failed
        ],
        bars=[bar_charts(comparison, frame) for frame in (WIDE, NARROW)],
        curves=[curve_chart(comparison, frame) for frame in (WIDE, NARROW)],
        columns=columns,
        phase_rows=[
            (one, [phase_seconds(one, column) for column in columns]) for one in comparison.outcomes
        ],
        rows=group_rows(comparison),
        roles=[(role, name) for role, name in ROLES.items() if role in kernels],
        bar_height=BAR,
        point=POINT,
    )


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write compare.json and compare.html, each whole or not at all.

    Args:
        comparison: What was found.
        folder: The folder of the run.

    Returns:
        The page.
    """
    files.write(folder / "compare.json", comparison.model_dump_json(indent=2) + "\n")
    return files.write(folder / "compare.html", render(comparison))


def load(folder: Path) -> Comparison:
    """Read the compare.json of a run.

    Raises:
        UsageError: It is not there, or none that this version knows.
    """
    return files.load(folder / "compare.json", Comparison)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the report of a stored comparison again."""

    def draw(folder: Path) -> Path:
        return files.write(folder / "compare.html", render(load(folder)))

    return page.redraw(draw, arguments, module="harness.compare.report", what=str(main.__doc__))


if __name__ == "__main__":
    sys.exit(main())
