# SPDX-License-Identifier: GPL-2.0-only
"""The report of a run: one HTML file that needs nothing else.

The page is drawn by templates/report.html.j2; timechart.py and memorychart.py
lay out its drawings.

`python -m harness.report.report results/RUN` draws the report of a stored result again.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.base import files
from harness.base.errors import ExitCode
from harness.record.result import BY_HAND, Check, LogFile, Result, Splat, Verdict
from harness.report import page
from harness.report.frame import NARROW, WIDE
from harness.report.memorychart import TRACK_HEIGHT, kind_sums, memory_chart
from harness.report.page import ROLES, size
from harness.report.timechart import BAR, ROW, charts

LOG_CAP = 400_000
"""Bytes of one log that the report embeds."""

EXIT_MEANING = {
    ExitCode.PASSED: "passed",
    ExitCode.CHECK_FAILED: "a check failed",
    ExitCode.USAGE: "wrong usage",
    ExitCode.PREREQUISITE: "something needed is missing",
    ExitCode.KERNEL: "a kernel crashed or hung",
    ExitCode.HARNESS: "the harness or the VM was lost",
}


# Logs


_TERMINAL_CODES = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Segment:
    """Neighbouring lines of a log; `mark` is 'bad' or 'expected' where they are a splat."""

    text: str
    mark: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class LogPart:
    """Part of a log that is embedded."""

    numbers: str
    segments: list[Segment]


@dataclass(frozen=True)
class LogView:
    """A log as the report shows it."""

    file: LogFile
    note: str
    length: int = 0
    unexpected: int = 0
    expected: int = 0
    parts: list[LogPart] = field(default_factory=list)
    between: str = ""


def _segments(
    lines: Sequence[str], first: int, splats: Sequence[tuple[int, Splat]]
) -> list[Segment]:
    """Cut lines, of which the first has number `first`, where splats begin and end."""
    looks: dict[int, tuple[str, int]] = {}
    for n, splat in splats:
        for number in range(splat.log_line, splat.log_line + max(1, len(splat.text.splitlines()))):
            if splat.expected:
                looks.setdefault(number, ("expected", n))
            else:
                looks[number] = ("bad", n)
    anchors = {splat.log_line: f"splat-{n}-in-log" for n, splat in splats}
    segments: list[Segment] = []
    chunk: list[str] = []
    look: tuple[str, int] | None = None
    anchor = ""
    for number, line in enumerate(lines, first):
        if looks.get(number) != look:
            if chunk:
                segments.append(Segment("".join(chunk), look[0] if look else "", anchor))
            chunk, look, anchor = [], looks.get(number), anchors.get(number, "")
        chunk.append(line + "\n")
    if chunk:
        segments.append(Segment("".join(chunk), look[0] if look else "", anchor))
    return segments


def _part(data: bytes, first: int, splats: Sequence[tuple[int, Splat]]) -> LogPart:
    text = data.decode("utf-8", errors="backslashreplace")
    lines = [_TERMINAL_CODES.sub("", line.rstrip("\r")) for line in text.split("\n")]
    if lines[-1] == "" and len(lines) > 1:
        lines.pop()
    numbers = "\n".join(str(n) for n in range(first, first + len(lines)))
    return LogPart(numbers, _segments(lines, first, splats))


def log_view(file: LogFile, folder: Path, splats: Sequence[Splat], limit: int = LOG_CAP) -> LogView:
    """Read a log for the report: all of it, or its head and its tail.

    Args:
        file: The log, relative to the folder.
        folder: The folder of the run; nothing outside of it is read.
        splats: All splats of the run; those of other logs are passed over.
        limit: How many bytes to embed.
    """
    path = folder / file.path
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return LogView(file, "not embedded: it is outside of the folder of the run")
        if not path.is_file():
            return LogView(file, "not there")
        data = path.read_bytes()
    except (OSError, ValueError) as exc:
        return LogView(file, f"cannot be read: {exc}")
    own = [(n, s) for n, s in enumerate(splats, 1) if s.log and s.log in (file.path, path.name)]
    unexpected = sum(not s.expected for _, s in own)
    if len(data) <= limit:
        note = "" if data else "empty"
        parts = [_part(data, 1, own)] if data else []
        return LogView(file, note, len(data), unexpected, len(own) - unexpected, parts)
    head_end = data.rfind(b"\n", 0, limit // 2) + 1 or limit // 2
    tail_start = len(data) - limit // 2
    tail_start = data.find(b"\n", tail_start, len(data) - 1) + 1 or tail_start
    head_lines = data.count(b"\n", 0, head_end)
    tail_first = 1 + data.count(b"\n", 0, tail_start)
    between = f"{tail_start - head_end:,} bytes left out here"
    if tail_first - 1 > head_lines:
        between += f", lines {head_lines + 1} to {tail_first - 1}"
    hidden = sum(head_lines < s.log_line < tail_first for _, s in own)
    if hidden:
        between += f"; splats in there: {hidden}, see Splats"
    parts = [_part(data[:head_end], 1, own), _part(data[tail_start:], tail_first, own)]
    note = f"head and tail only, {size(limit)} of {size(len(data))}"
    return LogView(file, note, len(data), unexpected, len(own) - unexpected, parts, between)


# The page


@dataclass(frozen=True)
class CheckGroup:
    """The checks whose names begin alike."""

    prefix: str
    checks: list[Check]

    @property
    def held(self) -> int:
        """How many of them are ok."""
        return sum(c.ok for c in self.checks)


def check_groups(checks: Iterable[Check]) -> list[CheckGroup]:
    """Group checks by the first part of their dotted names; groups with failures first."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        prefix = check.name.partition(".")[0] if "." in check.name else "general"
        groups.setdefault(prefix, []).append(check)
    return sorted(
        (CheckGroup(p, sorted(c, key=lambda x: x.ok)) for p, c in groups.items()),
        key=lambda g: g.held == len(g.checks),
    )


def contradictions(result: Result) -> list[str]:
    """What in a result denies that it passed: such a report must not look clean."""
    if result.verdict is not Verdict.PASSED:
        return []
    failed = sum(not c.ok for c in result.checks)
    unexpected = sum(not s.expected for s in result.splats)
    complaints = sum(c.bad for c in result.complaints)
    broken = sum(p.outcome != "ok" for p in result.phases)
    found = [
        (failed > 0, f"failed checks: {failed}"),
        (unexpected > 0, f"unexpected splats: {unexpected}"),
        (complaints > 0, f"unexpected complaints: {complaints}"),
        # A test that drives its machine by hand may want a refusal.
        (broken > 0 and result.resume_path != BY_HAND, f"phases that did not end well: {broken}"),
        (result.exit_code != 0, f"exit code {result.exit_code}"),
        (not result.checks, "no check was recorded"),
    ]
    return [text for wrong, text in found if wrong]


def describes_all_ram(result: Result) -> bool:
    """Whether the image is the kernel's own: those leave nothing to the jump back."""
    image, memory = result.image, result.memory_map
    return image is not None and memory is not None and image.ram_bytes >= memory.ram_bytes


def render(result: Result, folder: Path) -> str:
    """Draw the report.

    Args:
        result: What the run found.
        folder: The folder of the run, where its logs are.

    Returns:
        The whole page.
    """
    try:
        exit_meaning = EXIT_MEANING[ExitCode(result.exit_code)]
    except ValueError:
        exit_meaning = "unknown"
    memory = result.memory_map
    logs = [log_view(file, folder, result.splats) for file in result.logs]
    roles = [r for r in ROLES if any(p.kernel == r for p in result.phases)]
    return page.render(
        "report.html.j2",
        r=result,
        classic=describes_all_ram(result),
        passed=result.verdict is Verdict.PASSED,
        contradictions=contradictions(result),
        exit_meaning=exit_meaning,
        failed_checks=[c for c in result.checks if not c.ok],
        failed_phases=[p for p in result.phases if p.outcome != "ok"],
        splats=list(enumerate(result.splats, 1)),
        unexpected=[(n, s) for n, s in enumerate(result.splats, 1) if not s.expected],
        timelines=[charts(result, frame) for frame in (WIDE, NARROW)],
        roles=[(r, ROLES[r]) for r in roles],
        other_roles=sorted({p.kernel for p in result.phases} - set(ROLES)),
        longest=max((p.seconds for p in result.phases if math.isfinite(p.seconds)), default=0),
        memory_charts=[memory_chart(memory, f) for f in (WIDE, NARROW)] if memory else [],
        kind_sums=kind_sums(memory) if memory else [],
        groups=check_groups(result.checks),
        logs=logs,
        anchors={s.anchor for log in logs for part in log.parts for s in part.segments},
        row=ROW,
        bar_height=BAR,
        track_height=TRACK_HEIGHT,
    )


def write_report(result: Result, folder: Path) -> Path:
    """Write report.html next to result.json, whole or not at all.

    Args:
        result: What the run found.
        folder: The folder of the run, where its logs are.

    Returns:
        The file that was written.
    """
    return files.write(folder / "report.html", render(result, folder))


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the report of a stored result again."""

    def draw(folder: Path) -> Path:
        return write_report(files.load(folder / "result.json", Result), folder)

    return page.redraw(draw, arguments, module="harness.report.report", what=str(main.__doc__))


if __name__ == "__main__":
    sys.exit(main())
