# SPDX-License-Identifier: GPL-2.0-only
"""Find the splats and complaints in a kernel's log, live or stored.

The scanner goes by lines. A *header* (`headers.HEADERS`) opens a report, which takes
all that follows until the mark that ends this kind of report. Where there is
no such mark, or it was lost, lines that look like no part of a report end it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.base.errors import HarnessError, UsageError
from harness.logs.complaints import Complaints
from harness.logs.headers import (
    CUT_HERE,
    HEADERS,
    KERNEL_BUG,
    LIST,
    OOPS,
    PANIC,
    RULE,
    Header,
)
from harness.logs.lines import Line, LineReader
from harness.logs.openreport import OpenReport
from harness.record.result import Complaint, Splat, SplatKind

_CHUNK = 65536
# Garbage without a line end is cut here, so that memory stays bounded.
_MAX_LINE = 65536
# From the line that announces a report to its header, at most.
_MAX_BEFORE = 10
# What may go on with an oops.
_BEFORE_OOPS = (SplatKind.OOPS, SplatKind.BUG, SplatKind.CFI)
_PROMPT = re.compile(r"(?:\S{0,40} ?[#$>]|\S+ login:) ")
_SUFFIX = re.compile(r"\.(?:cold|isra|part|constprop|llvm|lto_priv)\b.*")
_NUMBER = re.compile(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f]*\b")


class SplatScanner:
    """Finds splats and complaints in a log that grows.

    The result does not depend on the pieces in which the log comes. A report
    without an end mark (an RCU stall, or a cut-off report) stays open until other
    lines follow. Wait for its end against a deadline, then call `finish()`.

    Args:
        log_name: The name of the log, copied into the splats.
    """

    def __init__(self, *, log_name: str = "") -> None:
        self.reader = LineReader()
        self._log_name = log_name
        self._complaints = Complaints(log_name)
        self._rest = b""
        self._number = 1
        self._before: list[Line] = []
        self._report: OpenReport | None = None
        self._found: list[Splat] = []

    @property
    def open(self) -> bool:
        """Whether a splat has begun and not yet ended."""
        return self._report is not None

    @property
    def complaints(self) -> list[Complaint]:
        """The complaints so far: those that differ in numbers only are one."""
        return self._complaints.found

    def feed(self, data: bytes | str) -> list[Splat]:
        """Take the next piece of the log.

        Args:
            data: The piece; it may end anywhere, also inside a character.

        Returns:
            The splats that ended in it.
        """
        if isinstance(data, str):
            data = data.encode(errors="replace")
        self._rest += data
        start = 0
        while True:
            end = self._rest.find(b"\n", start, start + _MAX_LINE)
            if end >= 0:
                self._take(self._rest[start:end])
                self._number += 1
                start = end + 1
            elif len(self._rest) - start >= _MAX_LINE:
                self._take(self._rest[start : start + _MAX_LINE])
                start += _MAX_LINE
            else:
                break
        self._rest = self._rest[start:]
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Splat]:
        """End the log, and with it the splat that is open.

        Returns:
            The last splats.
        """
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        self._close()
        found, self._found = self._found, []
        return found

    def _take(self, raw: bytes) -> None:
        for line in self.reader.read(raw, self._number):
            self._one(line)

    def _one(self, line: Line) -> None:
        # A kernel that stamps its lines stamps all of them.
        if line.stamped or not self.reader.stamps:
            self._complaints.take(line)
        report = self._report
        # The end comes first: the rule that ends a KASAN report looks like one
        # that announces a report.
        if report is not None and not report.foreign(line) and report.header.end.match(line.text):
            report.add(line)
            self._close()
            return
        if CUT_HERE.match(line.text) or RULE.match(line.text):
            self._before = [line]
            if CUT_HERE.match(line.text) and not (report and report.header is LIST):
                self._close()
        elif found := self._match(line):
            self._open(line, *found)
            return
        elif self._before:
            self._before.append(line)
            if len(self._before) > _MAX_BEFORE:
                self._before = []
        if self._report is not None and self._report.add(line):
            self._close()

    def _match(self, line: Line) -> tuple[Header, re.Match[str]] | None:
        text = line.text
        if not line.stamped and (prompt := _PROMPT.match(text)):
            text = text[prompt.end() :]
        for header in HEADERS:
            # A kernel that stamps its lines stamps all of them.
            if header.vague and self.reader.stamps and not line.stamped:
                continue
            if match := header.pattern.match(text):
                break
        else:
            return None
        # Announced like this, it is the message of the WARN that follows.
        if header is LIST and self._before and CUT_HERE.match(self._before[0].text):
            return None
        return header, match

    def _open(self, line: Line, header: Header, match: re.Match[str]) -> None:
        report = self._report
        if report is not None and self._continues(report, header):
            # Its first half came before: BUG() ends in an oops, an oops begins
            # with the fault, and a broken list is reported before BUG().
            report.header = report.header._replace(end=header.end, slack=header.slack)
            report.fill(match)
            report.oops = int(match["number"]) if header is OOPS else None
            report.misses = 0
            report.lines.append(line)
            self._before = []
            return
        self._close(before=self._before[0].number if self._before else None)
        message = ""
        if header.kind is SplatKind.WARN:
            # What WARN() was given to say stands between the announcement and the header.
            own = [m.text for m in self._before[1:] if m.stamped == line.stamped and m.text]
            message = f": {own[0]}" if own else ""
        self._report = OpenReport(header, match.string + message, line, lines=[*self._before, line])
        self._report.fill(match)
        self._report.oops = int(match["number"]) if header is OOPS else None
        self._before = []

    @staticmethod
    def _continues(report: OpenReport, header: Header) -> bool:
        if header is OOPS:
            return report.header.kind in _BEFORE_OOPS and report.oops is None
        return header is KERNEL_BUG and report.header.pattern is LIST.pattern

    def _close(self, *, before: int | None = None) -> None:
        if self._report is not None:
            self._found.append(self._report.splat(self._log_name, before=before))
            self._report = None


@dataclass(frozen=True)
class Scanned:
    """What a stored log has."""

    splats: list[Splat]
    complaints: list[Complaint]
    reader: LineReader


def scan(path: Path, *, log_name: str = "") -> list[Splat]:
    """Find the splats of a stored log.

    Args:
        path: The log.
        log_name: The name to give it in the splats; the file's name by default.

    Returns:
        The splats, in the order of the log.

    Raises:
        HarnessError: The log cannot be read.
    """
    return scan_all(path, log_name=log_name).splats


def scan_all(path: Path, *, log_name: str = "") -> Scanned:
    """Find the splats and complaints of a stored log.

    Args:
        path: The log.
        log_name: The name to give it in the splats; the file's name by default.

    Returns:
        What it has, in the order of the log.

    Raises:
        HarnessError: The log cannot be read.
    """
    scanner = SplatScanner(log_name=log_name or path.name)
    found: list[Splat] = []
    try:
        with path.open("rb") as log:
            while data := log.read(_CHUNK):
                found += scanner.feed(data)
    except OSError as error:
        raise HarnessError(f"cannot read the log {path}: {error.strerror}") from error
    found += scanner.finish()
    return Scanned(found, scanner.complaints, scanner.reader)


def signature(splat: Splat) -> str:
    """What stays the same when the same bug shows in another kernel or run.

    Args:
        splat: The splat.

    Returns:
        Its kind with function and file. A panic, and where the log names
        neither, also with the title less all numbers.
    """
    function = _SUFFIX.sub("", splat.function or "")
    parts = [part for part in (function, splat.file) if part]
    # A panic is called from few places, for many reasons.
    if not parts or splat.kind is SplatKind.PANIC:
        parts.append(_NUMBER.sub("N", splat.title.removeprefix(PANIC)))
    return f"{splat.kind}: {' '.join(parts)}"


@dataclass(frozen=True)
class Expectation:
    """A splat or complaint that is provoked on purpose.

    Args:
        pattern: A regular expression, searched for in the title.

    Raises:
        UsageError: It is not a regular expression.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UsageError(f"no regular expression: {self.pattern!r}: {error}") from error

    def matches(self, found: Splat | Complaint) -> bool:
        """Whether this is it."""
        return re.search(self.pattern, found.title) is not None


def mark_expected(found: Sequence[Splat | Complaint], patterns: Sequence[str]) -> list[str]:
    """Mark the splats and complaints that were provoked on purpose.

    Args:
        found: What was found; those that match get `expected` set.
        patterns: Regular expressions, searched for in the titles.

    Returns:
        The patterns that nothing matched.
    """
    missed = []
    for expectation in [Expectation(pattern) for pattern in patterns]:
        matching = [one for one in found if expectation.matches(one)]
        for one in matching:
            one.expected = True
        if not matching:
            missed.append(expectation.pattern)
    return missed
