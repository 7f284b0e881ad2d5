# SPDX-License-Identifier: GPL-2.0-only
"""What a run of the tests came to, and whether that is the failure that is sought.

A failed run leaves *marks*: what stays the same when the same bug shows in
another kernel. A splat leaves its kind, function and file; a hang the phase and
what did not come; a complaint its kind and words; a check that does not hold its
name. There are no addresses, times or numbers in them. Of a run only what came
first counts: a splat before what failed after it, and that before checks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.base.errors import (
    CheckFailedError,
    ExitCode,
    KernelCrashError,
    KernelError,
    KernelHangError,
    KspawnError,
    RefusedError,
)
from harness.base.said import Said
from harness.cycle.checks.log import COMPLAINTS_CHECK
from harness.logs import splats
from harness.logs.complaints import signature
from harness.record.result import AGAIN, Result, Splat, Verdict

# The phases until the userland of the kernel under test can be talked to.
BOOT_PHASES = ("1-normal boot", "1-normal connect")
_TIME = re.compile(r" within \d+ s\b.*| after \d+ s\b.*")
_NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|\d+)\b")
_WARN_TEXT = 120


class Outcome(StrEnum):
    """What one run says of its revision."""

    GOOD = "good"
    BAD = "bad"
    OTHER = "fails otherwise"
    NO_BOOT = "does not boot"
    NO_BUILD = "does not build"
    BROKEN = "harness broken"


class Report(BaseModel):
    """What a run of the tests came to, before it is compared with anything."""

    model_config = ConfigDict(extra="forbid")

    passed: bool = False
    broken: Said = Field(default="", description="why it says nothing about the kernel")
    no_boot: bool = False
    marks: list[str] = Field(default_factory=list)
    reason: Said = ""
    log_tail: Said = ""
    tests: int = 0


def alike(marks: Collection[str], sought: Collection[str], usual: float | None = None) -> bool:
    """Whether a failure is the one that is sought.

    The same splat, hang or complaint is enough. Of checks and tests, more than half of
    what such a failure breaks have to be the same: two bugs may have one check in common,
    and a bug does not break the same ones each time. If another bug is taken for the
    one that is sought, the wrong commit is blamed. The other mistake only skips one.

    Args:
        marks: Of the failure.
        sought: Those of the failures that are sought.
        usual: How many of them one such failure has; by default all.
    """
    shared = set(marks) & set(sought)
    if any(not mark.startswith(("check ", "test ")) for mark in shared):
        return True
    return 2 * len(shared) > (len(sought) if usual is None else usual)


def judge(report: Report, sought: Collection[str], usual: float | None = None) -> Outcome:
    """What a run says, given the marks of the failure that is sought.

    Args:
        report: What the run came to.
        sought: The marks; without any, each failure is the one that is sought.
        usual: See `alike`.
    """
    if report.broken:
        return Outcome.BROKEN
    if report.passed:
        return Outcome.GOOD
    if sought and alike(report.marks, sought, usual):
        return Outcome.BAD
    if report.no_boot:
        return Outcome.NO_BOOT
    return Outcome.OTHER if sought else Outcome.BAD


def splat_mark(splat: Splat) -> str:
    """The mark of a splat."""
    return f"splat {splats.signature(splat)[:_WARN_TEXT]}"


def error_marks(error: BaseException, *, test: str) -> list[str]:
    """The marks that an exception leaves.

    Args:
        error: What ended a test.
        test: The name of the test, for failures that say nothing else.
    """
    if isinstance(error, CheckFailedError) and error.checks:
        return [f"check {name}" for name in error.checks]
    if isinstance(error, KspawnError):
        return [_kernel_mark(error, error.phase.partition("-")[2] or test)]
    return [f"test {test}: {type(error).__name__}"]


def _kernel_mark(error: KspawnError, place: str) -> str:
    match error:
        case KernelCrashError(splat=Splat() as splat):
            return splat_mark(splat)
        case KernelCrashError():
            return f"reset in {place}"
        case KernelHangError():
            return f"hang in {place}: {_plain(error.message)}"
        case RefusedError():
            return f"refused in {place}: {error.status}"
    return f"{type(error).__name__} in {place}: {_plain(error.message)}"


def _plain(message: str) -> str:
    """A message without times, numbers and what follows them."""
    return _NUMBER.sub("N", _TIME.sub("", message))


def is_broken(error: BaseException) -> bool:
    """Whether an exception says nothing about the kernel under test."""
    return isinstance(error, KspawnError) and not isinstance(error, (KernelError, CheckFailedError))


def of_result(result: Result) -> Report:
    """What a whole cycle came to.

    Args:
        result: Its result.json.
    """
    if result.verdict is Verdict.PASSED:
        return Report(passed=True, tests=1)
    if result.exit_code not in (ExitCode.CHECK_FAILED, ExitCode.KERNEL):
        return Report(broken=result.reason or "a run ended without a verdict")
    report = Report(reason=result.reason, log_tail=result.log_tail, tests=1)
    failed = [phase for phase in result.phases if phase.outcome != "ok"]
    unexpected = [splat for splat in result.splats if not splat.expected]
    if failed:
        name = f"{failed[-1].boot}-{failed[-1].kernel} {failed[-1].name}"
        report.no_boot = name in BOOT_PHASES
    if unexpected:
        report.marks = [splat_mark(unexpected[0])]
    elif failed:
        last = failed[-1]
        kind = "hang" if last.outcome == KernelHangError.__name__ else last.outcome
        # Without the address that QEMU's log adds: it is another one in each build.
        what = result.reason.partition(AGAIN)[0]
        report.marks = [f"{kind} in {last.kernel} {last.name}: {_plain(what)}"]
    else:
        report.marks = _check_marks(result)
    return report


def _check_marks(result: Result) -> list[str]:
    marks = [f"check {check.name}" for check in result.checks if not check.ok]
    said = [f"complaint {signature(each)[:_WARN_TEXT]}" for each in result.complaints if each.bad]
    name = f"check {COMPLAINTS_CHECK}"
    return [one for mark in marks for one in (said if mark == name and said else [mark])]


def merge(lines: Sequence[dict[str, Any]], results: Sequence[Result]) -> Report:
    """What all tests of a run came to.

    Args:
        lines: What `harness.bisect.recorder` wrote.
        results: The cycles that it left.
    """
    end = lines[-1] if lines and lines[-1].get("event") == "end" else None
    if end is None:
        return Report(broken="the tests did not come to their end")
    failures = [line for line in lines if line.get("event") == "failure"]
    found = [Report.model_validate(line["report"]) for line in failures]
    found += [report for report in map(of_result, results) if not report.passed]
    for report in found:
        if report.broken:
            return report
    if not found:
        return _without_failure(end)
    first = found[0].model_copy()
    # A splat explains what failed after it, in whichever test it came first.
    marks = list(dict.fromkeys(mark for report in found for mark in report.marks))
    seen = [mark for mark in marks if mark.startswith("splat ")][:1]
    first.marks = seen or marks
    first.no_boot = any(report.no_boot for report in found)
    first.tests = int(end["passed"]) + len(found)
    return first


def _without_failure(end: dict[str, Any]) -> Report:
    status, passed = int(end["status"]), int(end["passed"])
    if status == 0 and passed:
        return Report(passed=True, tests=passed)
    if status == 0:
        return Report(broken=f"no test ran: {end['skipped']} were skipped")
    return Report(broken=f"pytest ended with {status}, and no test failed")
