# SPDX-License-Identifier: GPL-2.0-only
"""KTAP, in which the kernel's own tests report: Documentation/dev-tools/ktap.rst.

Reads what KUnit writes to the kernel's log (with timestamps, and with what else
the kernel says in between) and what kselftest prints, where the output of a
test has a "# " before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from harness.base.text import shown

_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_VERSION = re.compile(r"^K?TAP version \d+$")
_SUBTEST = re.compile(r"^# Subtest: (.*)$")
_PLAN = re.compile(r"^1\.\.(\d{1,9})(?:\s+#\s*SKIP\b\s*(.*))?$", re.IGNORECASE)
_RESULT = re.compile(
    r"^(?P<status>not ok|ok)(?:\s+(?P<number>\d{1,9}))?(?:\s+-)?(?:\s+(?P<text>.*))?$"
)
_DIRECTIVES = r"(?:SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b"
# What follows is no part of the name, which is to be the same each time: a directive,
# kselftest's exit code, or what else a test says of itself.
_HASH = re.compile(rf"(?<!\\)#\s*(?={_DIRECTIVES}|exit=\d)|(?:^|(?<=\s))#\s+")
_DIRECTIVE = re.compile(rf"(?P<directive>{_DIRECTIVES}|(?i:skip|todo)\b):?\s*(?P<reason>.*)")
# It is another one each time, and no reason for anything.
_DURATION = re.compile(r"(?:time|duration|elapsed)\w*\s*[=:]?\s*[\d.]+\s*\w*$", re.IGNORECASE)
# Before the path of a case that is a property of a test of ours.
_PROPERTY = "ktap: "
# No test nests so deep; a log that was torn may seem to.
_MAX_LEVELS = 50
_BAIL = re.compile(r"^Bail out!\s*(.*)$", re.IGNORECASE)


class Status(StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    # Known to fail, and did.
    EXPECTED = "expected failure"
    # What was reported makes no sense, or did not come.
    ERROR = "error"


@dataclass
class Test:
    """A test, or a suite of tests.

    Args:
        name: Its name.
        status: How it ended.
        reason: Why, where that was said.
        log: What came with it.
        subtests: The tests in it.
    """

    name: str
    status: Status
    reason: str = ""
    log: list[str] = field(default_factory=list)
    subtests: list[Test] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.status not in (Status.FAILED, Status.ERROR)

    def cases(self, prefix: str = "") -> Iterator[tuple[str, Test]]:
        """The tests that have none in them, with their path.

        Args:
            prefix: Put before each path.
        """
        path = f"{prefix}{self.name}"
        if not self.subtests:
            yield path, self
        for test in self.subtests:
            yield from test.cases(f"{path}.")
        if self.subtests and not self.good and all(test.good for test in self.subtests):
            yield path, self


def to_property(path: str, case: Test) -> tuple[str, str]:
    """A case as a property of the pytest test that ran it: name and value.

    Args:
        path: Its path.
        case: The case.
    """
    why = case.reason or ("" if case.good else " ".join(case.log[-1:]))
    return f"{_PROPERTY}{path}", f"{case.status}: {why}" if why else str(case.status)


def from_property(name: str, value: object) -> tuple[str, Status, str] | None:
    """What `to_property` made of a case: path, status and reason; None of other properties.

    Args:
        name: Of the property.
        value: Of it.
    """
    if not name.startswith(_PROPERTY):
        return None
    status, _, reason = str(value).partition(": ")
    if status not in set(Status):
        return None
    return name.removeprefix(_PROPERTY), Status(status), reason


@dataclass
class _Level:
    indent: int
    name: str = ""
    plan: int | None = None
    plan_reason: str = ""
    tests: list[Test] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    numbers: int = 0


def parse(text: str) -> list[Test]:
    """Read a log.

    Args:
        text: What a test or a kernel printed.

    Returns:
        The tests of the outermost level, in their order. What is missing or
        out of order is a test of the status ERROR that says so.
    """
    lines = [_STAMP.sub("", line.rstrip()) for line in shown(text).splitlines()]
    parser = _Parser(versioned=any(_VERSION.match(_unwrap(line)[1]) for line in lines))
    for line in lines:
        parser.line(line)
    return parser.finish()


class _Parser:
    """Reads line by line.

    Args:
        versioned: Whether the document has a version line, before which nothing counts.
    """

    def __init__(self, *, versioned: bool) -> None:
        self.versioned = versioned
        self.levels: list[_Level] = []
        self.done: list[Test] = []

    def line(self, line: str) -> None:
        indent, body = _unwrap(line)
        if _VERSION.match(body):
            self._open(indent, again=True)
        elif found := _SUBTEST.match(body):
            self._open(indent).name = found[1]
        elif (found := _PLAN.match(body)) and (self.levels or not self.versioned):
            level = self._open(indent)
            level.plan, level.plan_reason = int(found[1]), found[2] or ""
        elif (found := _RESULT.match(body)) and (self.levels or self._begins(found)):
            self._result(indent, found)
        elif found := _BAIL.match(body):
            self._bail(found[1])
        elif self.levels and body:
            self.levels[-1].log.append(body.removeprefix("# "))

    def _begins(self, found: re.Match[str]) -> bool:
        """Whether a result is the first line of a document without a version line."""
        return not self.versioned and found["number"] is not None

    def _open(self, indent: int, *, again: bool = False) -> _Level:
        """The level of an indent; a version line begins it anew."""
        while self.levels and self.levels[-1].indent > indent:
            self._abandon()
        if not self.levels or (self.levels[-1].indent < indent and len(self.levels) < _MAX_LEVELS):
            self.levels.append(_Level(indent))
        elif again and (self.levels[-1].tests or self.levels[-1].plan is not None):
            # Another document; the one before is what it is.
            self.done += _close(self.levels.pop())
            self.levels.append(_Level(indent))
        return self.levels[-1]

    def _abandon(self) -> None:
        """A level whose own result never came."""
        level = self.levels.pop()
        tests = _close(level)
        lost = Test(
            level.name or "unnamed", Status.ERROR, "its result did not come", level.log, tests
        )
        if self.levels:
            self.levels[-1].tests.append(lost)
        else:
            self.done.append(lost)

    def _result(self, indent: int, found: re.Match[str]) -> None:
        inner: _Level | None = None
        while self.levels and self.levels[-1].indent > indent:
            if len(self.levels) > 1 and self.levels[-2].indent > indent:
                self._abandon()
                continue
            inner = self.levels.pop()
        level = self._open(indent)
        status, reason, name = _status(found)
        name = name or (inner.name if inner else "") or "unnamed"
        log, level.log = level.log, []
        test = Test(name, status, reason, log)
        if inner is not None:
            test.subtests = _close(inner)
            test.log += inner.log
            if status is Status.PASSED and not all(each.good for each in test.subtests):
                test.status, test.reason = Status.ERROR, "ok, though a test in it is not"
        level.numbers += 1
        number = int(found["number"]) if found["number"] else level.numbers
        if number != level.numbers:
            reason = f"{name} has the number {number} where {level.numbers} was expected"
            level.tests.append(Test("order", Status.ERROR, reason))
            level.numbers = number
        level.tests.append(test)

    def _bail(self, reason: str) -> None:
        level = self._open(0)
        level.tests.append(Test("bail out", Status.ERROR, reason or "no reason given"))
        level.plan = None

    def finish(self) -> list[Test]:
        while len(self.levels) > 1 or (self.levels and self.levels[-1].indent > 0):
            self._abandon()
        for level in self.levels:
            self.done += _close(level)
        return self.done


def _unwrap(line: str) -> tuple[int, str]:
    """The depth of a line and what it says; kselftest nests by "# "."""
    body = line.lstrip(" ")
    indent = len(line) - len(body)
    rest = body
    while rest.startswith("# "):
        rest = rest[2:]
        inner = rest.lstrip(" ")
        if any(kind.match(inner) for kind in (_VERSION, _PLAN, _RESULT)):
            return indent + len(body) - len(inner), inner
    return indent, body


def _status(found: re.Match[str]) -> tuple[Status, str, str]:
    """Status, reason and name of a result line."""
    name, *notes = (part.strip() for part in _HASH.split(found["text"] or ""))
    directive, said = "", []
    for note in notes:
        match = None if directive else _DIRECTIVE.match(note)
        if match:
            directive = match["directive"].upper()
        text = match["reason"].strip() if match else note
        if text and not _DURATION.match(text):
            said.append(text)
    reason = " # ".join(said)
    match directive:
        case "SKIP":
            return Status.SKIPPED, reason, name
        case "TODO" | "XFAIL":
            good = found["status"] == "ok" and directive == "TODO"
            return (Status.PASSED if good else Status.EXPECTED), reason, name
        case "TIMEOUT" | "ERROR":
            return Status.ERROR, reason or directive.lower(), name
    return (Status.PASSED if found["status"] == "ok" else Status.FAILED), reason, name


def _close(level: _Level) -> list[Test]:
    """The tests of a level that is over, with what its plan says of it."""
    tests = list(level.tests)
    if level.plan == 0 and not tests:
        tests.append(Test("nothing", Status.SKIPPED, level.plan_reason or "no test is planned"))
    elif level.plan is not None and level.numbers != level.plan:
        reason = f"{level.plan} tests planned, {level.numbers} reported"
        tests.append(Test("plan", Status.ERROR, reason))
    elif level.plan is None and not tests:
        tests.append(Test("plan", Status.ERROR, "no test was reported"))
    return tests
