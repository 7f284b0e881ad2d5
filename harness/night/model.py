# SPDX-License-Identifier: GPL-2.0-only
"""What jobs leave: attempts and the outcomes of tests; and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from harness.base.errors import ExitCode
from harness.base.said import Said

# What is wrong in a file or missing here is so the next time, too.
_NOT_AGAIN = (int(ExitCode.USAGE), int(ExitCode.PREREQUISITE))


class Outcome(StrEnum):
    """How a test ended, once."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"

    @property
    def bad(self) -> bool:
        """Whether it is run again."""
        return self in (Outcome.FAILED, Outcome.ERROR)


class Verdict(StrEnum):
    """How a test or a job ended, all its attempts considered."""

    PASSED = "passed"
    FLAKY = "flaky"
    FAILED = "failed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    WAITING = "waiting"

    @property
    def green(self) -> bool:
        """Whether nobody has to look at it."""
        return self in (Verdict.PASSED, Verdict.SKIPPED, Verdict.XFAILED)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TestRun(_Model):
    """One test in one attempt."""

    __test__ = False  # pytest: this is no test

    name: Said = Field(description="the node ID, and below it the path of a KTAP case")
    outcome: Outcome
    seconds: float = 0.0
    exit_code: int = 0
    message: Said = Field(default="", description="why, one line")
    detail: Said = Field(default="", description="the end of what pytest says of it")

    @property
    def group(self) -> str:
        """What is run again with it: tests of a class share their cycle, cases their test."""
        head, sep, _ = self.name.rpartition("::")
        return head if sep and "::" in head else self.name


class Attempt(_Model):
    """One run of a job: number 0 is the whole, others what failed, in isolation."""

    job: str = Field(description="the key of the job")
    number: int
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    exit_code: int = int(ExitCode.HARNESS)
    reason: Said = Field(default="", description="what ended it, where no test says so")
    host: str = ""
    folder: str = Field(default="", description="relative to that of the night")
    tests: list[TestRun] = Field(default_factory=list)
    figures: dict[str, float] = Field(
        default_factory=dict, description="seconds by phase, bytes by kind of page"
    )

    @property
    def bad(self) -> list[TestRun]:
        """The tests that did not hold."""
        return [test for test in self.tests if test.outcome.bad]

    @property
    def broke(self) -> bool:
        """Whether something besides its tests ended it: others may not have run."""
        return bool(self.reason) or bool(self.exit_code and not self.bad)


class TestVerdict(_Model):
    """A test, all attempts considered."""

    __test__ = False

    name: str
    verdict: Verdict
    runs: int
    failures: int
    seconds: float
    exit_code: int = 0
    message: str = ""
    detail: str = ""


def judge_tests(attempts: Sequence[Attempt]) -> list[TestVerdict]:
    """What each test of a job came to.

    A failure stands until a later attempt passes; then it is flaky, never passed.
    A skip says nothing of it.

    Args:
        attempts: Those of one job, in order.
    """
    runs: dict[str, list[TestRun]] = {}
    for attempt in attempts:
        for test in attempt.tests:
            runs.setdefault(test.name, []).append(test)
    return [_judge_test(name, found) for name, found in runs.items()]


def _judge_test(name: str, runs: Sequence[TestRun]) -> TestVerdict:
    bad = [run for run in runs if run.outcome.bad]
    last = next((run for run in reversed(runs) if run.outcome is not Outcome.SKIPPED), runs[-1])
    verdict = Verdict.FAILED if last.outcome.bad else Verdict(last.outcome.value)
    if bad and not last.outcome.bad:
        verdict = Verdict.FLAKY
    shown = bad[0] if bad else last
    return TestVerdict(
        name=name,
        verdict=verdict,
        runs=len(runs),
        failures=len(bad),
        seconds=runs[0].seconds,
        exit_code=shown.exit_code,
        message=shown.message,
        detail=shown.detail,
    )


def judge(attempts: Sequence[Attempt]) -> tuple[Verdict, int, str]:
    """What a job came to: its verdict, its exit code, and why.

    Args:
        attempts: In order, the whole run first.
    """
    if not attempts:
        return Verdict.WAITING, int(ExitCode.HARNESS), ""
    tests = judge_tests(attempts)
    failed = [test for test in tests if test.verdict is Verdict.FAILED]
    last = attempts[-1]
    if failed or last.broke:
        codes = [test.exit_code for test in failed] + [last.exit_code] * last.broke
        reasons = [last.reason] * last.broke + ([_summary(failed)] if failed else [])
        code = max([*codes, int(ExitCode.CHECK_FAILED)])
        return Verdict.FAILED, code, "; ".join(filter(None, reasons))
    flaky = [test for test in tests if test.verdict is Verdict.FLAKY]
    if flaky or len(attempts) > 1:
        reason = _summary(flaky) if flaky else attempts[0].reason
        return Verdict.FLAKY, int(ExitCode.FLAKY), reason
    if tests and all(test.verdict is Verdict.SKIPPED for test in tests):
        return Verdict.SKIPPED, int(ExitCode.PASSED), tests[0].message
    return Verdict.PASSED, int(ExitCode.PASSED), ""


def _summary(tests: Sequence[TestVerdict]) -> str:
    first = tests[0]
    name = first.name.rpartition("/")[2]
    more = f" (and {len(tests) - 1} more)" if len(tests) > 1 else ""
    return f"{name}{more}: {first.message}" if first.message else f"{name}{more}"


def to_repeat(attempts: Sequence[Attempt]) -> list[str] | None:
    """What the next attempt of a job runs, each in a process of its own.

    Args:
        attempts: Those there were.

    Returns:
        Node IDs of tests, and of classes whose tests share a machine; an empty
        list for all of it; None if nothing is left to repeat.
    """
    if not attempts:
        return []
    verdict, code, _ = judge(attempts)
    if verdict is not Verdict.FAILED or code in _NOT_AGAIN:
        return None
    if all(attempt.broke for attempt in attempts):
        # The whole never came to its end: what it had left was not run at all.
        return []
    failed = {test.name for test in judge_tests(attempts) if test.verdict is Verdict.FAILED}
    groups = {run.group: None for at in attempts for run in at.tests if run.name in failed}
    # A case of a test is run with it, and that with its class.
    return [one for one in groups if not any(one.startswith(f"{each}::") for each in groups)]


def night_exit_code(codes: Sequence[int]) -> int:
    """The exit code of a night: the largest of a failure, else flaky, else passed.

    Args:
        codes: Those of its jobs.
    """
    worst = max((code for code in codes if code != ExitCode.FLAKY), default=0)
    return worst or (int(ExitCode.FLAKY) if ExitCode.FLAKY in codes else int(ExitCode.PASSED))
