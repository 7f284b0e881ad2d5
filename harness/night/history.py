# SPDX-License-Identifier: GPL-2.0-only
"""What the nights of a matrix say together: rates, and since when a test fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.night.flakes import Rate
from harness.night.model import TestVerdict, Verdict, judge, judge_tests
from harness.night.store import Night, Store, StoredJob

# A pseudo test: what ended a job besides its tests.
WHOLE_JOB = "the job itself"
# As many nights are looked at; older ones stay in the store.
NIGHTS = 60


@dataclass
class TestHistory:
    """A test of a job over the nights."""

    __test__ = False

    job: str
    name: str
    entries: dict[int, TestVerdict] = field(default_factory=dict)

    @property
    def rate(self) -> Rate:
        """How often it fails where it can pass: nights that never passed are left out."""
        found = [
            entry
            for entry in self.entries.values()
            if entry.verdict in (Verdict.PASSED, Verdict.FLAKY)
        ]
        return Rate(
            failures=sum(entry.failures for entry in found), runs=sum(entry.runs for entry in found)
        )


@dataclass(frozen=True)
class JobNight:
    """A job in a night."""

    job: StoredJob
    verdict: Verdict
    exit_code: int
    reason: str
    tests: tuple[TestVerdict, ...]


@dataclass(frozen=True)
class Failure:
    """A test that failed in the night that is looked at."""

    job: str
    result: TestVerdict
    since: Night
    before: Verdict | None


@dataclass
class History:
    """The latest nights of a matrix.

    Args:
        store: The store.
        name: The matrix.
    """

    store: Store
    name: str
    nights: list[Night] = field(init=False)
    jobs: dict[int, dict[str, JobNight]] = field(init=False, default_factory=dict)
    tests: dict[tuple[str, str], TestHistory] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        done = [night for night in self.store.nights(self.name) if night.finished is not None]
        self.nights = done[-NIGHTS:]
        for night in self.nights:
            self._read(night)
        for history in self.tests.values():
            if history.name == WHOLE_JOB:
                self._fill(history)

    def _fill(self, history: TestHistory) -> None:
        """A job that ran without trouble of its own passed, as such."""
        for night in self.nights:
            found = self.jobs[night.id].get(history.job)
            if found and found.job.attempts and night.id not in history.entries:
                history.entries[night.id] = _whole(found.job, Verdict.PASSED, 0, "")

    def _read(self, night: Night) -> None:
        latest = night is self.nights[-1]
        found = self.jobs.setdefault(night.id, {})
        for job in self.store.jobs(night.id, details=latest):
            verdict, code, reason = judge(job.attempts)
            tests = judge_tests(job.attempts)
            if broken := [attempt for attempt in job.attempts if attempt.broke]:
                whole = Verdict.FAILED if job.attempts[-1].broke else Verdict.FLAKY
                tests.append(_whole(job, whole, broken[-1].exit_code, broken[-1].reason))
            found[job.title] = JobNight(job, verdict, code, reason, tuple(tests))
            for test in tests:
                history = self.tests.setdefault(
                    (job.title, test.name), TestHistory(job.title, test.name)
                )
                history.entries[night.id] = test

    @property
    def latest(self) -> Night:
        """The night that ran last."""
        return self.nights[-1]

    def green_before(self, night: Night) -> Night | None:
        """The last night before one in which all passed."""
        return next(
            (n for n in reversed(self.nights) if n.id < night.id and n.exit_code == 0), None
        )

    def failures(self, night: Night) -> list[Failure]:
        """The tests that failed in a night, those that began to fail last first."""
        found = []
        for job in self.jobs[night.id].values():
            for test in job.tests:
                if test.verdict is Verdict.FAILED:
                    found.append(self._failure(job.job.title, test, night))
        return sorted(found, key=lambda failure: -failure.since.id)

    def _failure(self, job: str, test: TestVerdict, night: Night) -> Failure:
        entries = self.tests[job, test.name].entries
        since, before = night, None
        for other in reversed([n for n in self.nights if n.id < night.id]):
            if other.id not in entries:
                continue
            if entries[other.id].verdict is not Verdict.FAILED:
                before = entries[other.id].verdict
                break
            since = other
        return Failure(job, test, since, before)

    def flaky(self, night: Night) -> list[tuple[TestHistory, TestVerdict]]:
        """The tests that were flaky in a night, the worst first."""
        found = [
            (self.tests[job.job.title, test.name], test)
            for job in self.jobs[night.id].values()
            for test in job.tests
            if test.verdict is Verdict.FLAKY
        ]
        return sorted(found, key=lambda pair: -pair[0].rate.value)

    def figure(self, job: str, name: str) -> list[float | None]:
        """A figure of a job, a value a night."""
        values: list[float | None] = []
        for night in self.nights:
            found = self.jobs[night.id].get(job)
            attempts: Sequence[object] = found.job.attempts if found else ()
            values.append(found.job.attempts[0].figures.get(name) if found and attempts else None)
        return values


def _whole(job: StoredJob, verdict: Verdict, code: int, reason: str) -> TestVerdict:
    return TestVerdict(
        name=WHOLE_JOB,
        verdict=verdict,
        runs=len(job.attempts),
        failures=sum(attempt.broke for attempt in job.attempts),
        seconds=job.attempts[0].seconds,
        exit_code=code,
        message=reason,
    )
