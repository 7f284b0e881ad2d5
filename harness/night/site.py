# SPDX-License-Identifier: GPL-2.0-only
"""The pages of the nights: static, each with all that it needs in itself.

A page asks for nothing from elsewhere and runs no script, so that it can be
opened from a folder, an archive of a CI system, or any web server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.base import cache, files
from harness.night.charts import (
    CELL,
    SIZE,
    Chart,
    Strip,
    chart,
    day,
    duration,
    strip,
)
from harness.night.grid import grid
from harness.night.history import WHOLE_JOB, Failure, History, JobNight, TestHistory
from harness.night.model import TestVerdict, Verdict
from harness.night.store import Night, Store
from harness.report import page


def write(store: Store, folder: Path, *, runs: Path) -> Path:
    """Write the pages of all matrices of a store.

    Args:
        store: The store.
        folder: Where the pages go.
        runs: Where the folders of the nights are, which pages link to.

    Returns:
        The page to begin with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in store.names() if any(n.finished for n in store.nights(name))]
    for name in names:
        _Site(store, name, names, folder, runs).write()
    first = folder / "index.html"
    if names:
        files.write(first, (folder / f"{_plain(names[0])}.html").read_text())
    return first


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


# --- Pages ----------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A test in a list."""

    job: str
    name: str
    short: str
    page: str
    result: TestVerdict | None
    strip: Strip
    rate: str
    failure: Failure | None = None


@dataclass(frozen=True)
class JobRow:
    """A job in a list."""

    title: str
    anchor: str
    verdict: str
    reason: str
    tests: int
    seconds: str
    attempts: int
    strip: Strip
    link: str


@dataclass(frozen=True)
class Bar:
    """A night in the chart of all nights."""

    x: float
    title: str
    parts: tuple[tuple[float, float, str], ...]
    page: str


class _Site:
    def __init__(
        self, store: Store, name: str, names: Sequence[str], folder: Path, runs: Path
    ) -> None:
        self.history = History(store, name)
        self.name = name
        self.folder = folder
        self.runs = runs
        self.prefix = _plain(name)
        self.common = {
            "matrix": name,
            "prefix": self.prefix,
            "others": [(other, f"{_plain(other)}.html") for other in names],
            "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "cell": CELL,
            "chart_size": SIZE,
        }

    def write(self) -> None:
        """Write all pages of the matrix, and remove those of tests that are gone."""
        history = self.history
        written = {self._night_page(night): self._night(night) for night in history.nights}
        written[f"{self.prefix}.html"] = written[self._night_page(history.latest)]
        written[f"{self.prefix}-tests.html"] = self._tests()
        written[f"{self.prefix}-trends.html"] = self._trends()
        for test in history.tests.values():
            if self._has_page(test):
                written[self._test_page(test.job, test.name)] = self._test(test)
        for path in self.folder.glob(f"{self.prefix}-test-*.html"):
            if path.name not in written:
                path.unlink()
        for name, text in written.items():
            files.write(self.folder / name, text)

    def _render(self, template: str, title: str, **values: Any) -> str:
        return page.render(
            f"night/{template}", title=title, **self.common, **values, duration=duration, day=day
        )

    # A page for each test that has a story; a test that always passed has none.
    def _has_page(self, test: TestHistory) -> bool:
        quiet = (Verdict.PASSED, Verdict.SKIPPED)
        return any(entry.verdict not in quiet for entry in test.entries.values())

    def _night_page(self, night: Night) -> str:
        return f"{self.prefix}-night-{night.id}.html"

    def _test_page(self, job: str, name: str) -> str:
        return f"{self.prefix}-test-{cache.digest(job, name)[:12]}.html"

    def _link(self, night: Night, job: JobNight) -> str:
        """The folder of a job's first attempt, where it is still there."""
        if not job.job.attempts:
            return ""
        path = self.runs / night.folder / job.job.attempts[0].folder
        for name in ("report.html", "pytest.log"):
            if (path / name).exists():
                return Path(os.path.relpath(path / name, self.folder)).as_posix()
        return ""

    def _night(self, night: Night) -> str:
        history = self.history
        jobs = history.jobs[night.id]
        counts = dict.fromkeys(Verdict, 0)
        for job in jobs.values():
            counts[job.verdict] += 1
        failures = history.failures(night)
        green = history.green_before(night)
        position = history.nights.index(night)
        return self._render(
            "night.html.j2",
            f"{self.name}, {day(night.started)}",
            night=night,
            latest=night is history.latest,
            older=self._night_page(history.nights[position - 1]) if position else "",
            newer=self._night_page(history.nights[position + 1])
            if position + 1 < len(history.nights)
            else "",
            state=_state(counts),
            counts=[(verdict.value, count) for verdict, count in counts.items() if count],
            seconds=(night.finished - night.started).total_seconds() if night.finished else 0,
            green=green,
            failures=[self._failure_row(failure) for failure in failures],
            flaky=[self._row(test.job, test.name, result) for test, result in history.flaky(night)],
            known=[
                self._row(job.job.title, test.name, test)
                for job in jobs.values()
                for test in job.tests
                if test.verdict is Verdict.XFAILED
            ],
            grid=grid(list(jobs.values())),
            anchors={title: _anchor(title) for title in jobs},
            jobs=[self._job_row(night, job) for job in jobs.values()],
            bars=self._bars(),
        )

    def _failure_row(self, failure: Failure) -> Row:
        return self._row(failure.job, failure.result.name, failure.result, failure=failure)

    def _row(
        self, job: str, name: str, result: TestVerdict | None, *, failure: Failure | None = None
    ) -> Row:
        test = self.history.tests[job, name]
        return Row(
            job=job,
            name=name,
            short=short(name),
            page=self._test_page(job, name) if self._has_page(test) else "",
            result=result,
            strip=strip(self.history.nights, {n: e.verdict for n, e in test.entries.items()}),
            rate=str(test.rate),
            failure=failure,
        )

    def _job_row(self, night: Night, job: JobNight) -> JobRow:
        title = job.job.title
        verdicts = {
            n.id: self.history.jobs[n.id][title].verdict
            for n in self.history.nights
            if title in self.history.jobs[n.id]
        }
        return JobRow(
            title=title,
            anchor=_anchor(title),
            verdict=job.verdict.value,
            reason=job.reason,
            tests=len(job.tests),
            seconds=duration(sum(at.seconds for at in job.job.attempts)),
            attempts=len(job.job.attempts),
            strip=strip(self.history.nights, verdicts),
            link=self._link(night, job),
        )

    def _bars(self) -> list[Bar]:
        """Each night as a bar of its jobs, the bad ones at the bottom."""
        bars = []
        nights = self.history.nights
        most = max((len(self.history.jobs[night.id]) for night in nights), default=1) or 1
        for index, night in enumerate(nights):
            jobs = list(self.history.jobs[night.id].values())
            parts, y = [], 100.0
            for verdict in (Verdict.FAILED, Verdict.FLAKY, Verdict.PASSED, Verdict.SKIPPED):
                count = sum(1 for job in jobs if job.verdict is verdict)
                height = 100.0 * count / most
                y -= height
                if count:
                    parts.append((round(y, 2), round(height, 2), verdict.value))
            counts = ", ".join(
                f"{n} {v.value}" for v in Verdict if (n := sum(j.verdict is v for j in jobs))
            )
            title = f"{day(night.started)}: {counts}"
            bars.append(Bar(index * CELL, title, tuple(parts), self._night_page(night)))
        return bars

    def _tests(self) -> str:
        groups = []
        latest = self.history.jobs[self.history.latest.id]
        names: dict[str, list[str]] = {title: [] for title in latest}
        for job, name in self.history.tests:
            names.setdefault(job, []).append(name)
        for title, tests in names.items():
            now = {test.name: test for test in latest[title].tests} if title in latest else {}
            rows = [self._row(title, name, now.get(name)) for name in tests]
            rows.sort(key=lambda row: not row.page)
            groups.append((title, _anchor(title), rows, any(row.page for row in rows)))
        return self._render("tests.html.j2", f"{self.name}: tests", groups=groups)

    def _test(self, test: TestHistory) -> str:
        nights = self.history.nights
        entries = [
            (night, self._night_page(night), test.entries[night.id])
            for night in reversed(nights)
            if night.id in test.entries
        ]
        seconds = [test.entries[n.id].seconds if n.id in test.entries else None for n in nights]
        return self._render(
            "test.html.j2",
            f"{short(test.name)}",
            row=self._row(test.job, test.name, None),
            entries=entries,
            chart=chart("seconds", [night.started for night in nights], seconds, "s"),
            whole=test.name == WHOLE_JOB,
        )

    def _trends(self) -> str:
        latest = self.history.jobs[self.history.latest.id]
        cards = []
        for title, job in latest.items():
            charts = [found for found in self._charts(title) if found is not None]
            if charts:
                cards.append((title, _anchor(title), job.verdict.value, charts))
        whole = [
            (night.finished - night.started).total_seconds() / 60 if night.finished else None
            for night in self.history.nights
        ]
        return self._render(
            "trends.html.j2",
            f"{self.name}: trends",
            whole=chart("the whole night", self._dates, whole, "min"),
            cards=cards,
        )

    @property
    def _dates(self) -> list[datetime]:
        return [night.started for night in self.history.nights]

    def _charts(self, title: str) -> list[Chart | None]:
        nights, figure = self.history.nights, self.history.figure
        cycle = figure(title, "seconds")
        if not any(value is not None for value in cycle):
            jobs = [self.history.jobs[night.id].get(title) for night in nights]
            own = [
                job.job.attempts[0].seconds if job and job.job.attempts else None for job in jobs
            ]
            return [chart("the job", self._dates, own, "s")]
        stored = [
            value / page.MIB if value is not None else None
            for value in figure(title, "image.stored")
        ]
        return [
            chart("one cycle", self._dates, cycle, "s"),
            chart("save", self._dates, figure(title, "seconds.save"), "s"),
            chart("restore", self._dates, figure(title, "seconds.restore"), "s"),
            chart("image, stored", self._dates, stored, "MiB"),
        ]


def _anchor(title: str) -> str:
    """What a job is called in links to it."""
    return cache.digest(title)[:8]


def _state(counts: dict[Verdict, int]) -> str:
    if counts[Verdict.FAILED] or counts[Verdict.WAITING]:
        return "failed"
    return "flaky" if counts[Verdict.FLAKY] else "passed"


def short(name: str) -> str:
    """A node ID without its folders."""
    file, sep, rest = name.partition("::")
    return f"{Path(file).name}{sep}{rest}" if sep else file
