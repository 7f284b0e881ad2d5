# SPDX-License-Identifier: GPL-2.0-only
"""A night at one look: what was run down the side, kernels across the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.night.history import JobNight
from harness.night.matrix import SEPARATOR, Job, bare
from harness.night.model import Verdict


@dataclass(frozen=True)
class Cell:
    """One job, or none.

    Args:
        title: The job's; empty where there is none.
        verdict: How it ended.
        words: The same with what was expected to fail, for people.
    """

    title: str = ""
    verdict: str = ""
    words: str = ""


@dataclass(frozen=True)
class Grid:
    """What ran, by kernel.

    Args:
        columns: The kernels.
        rows: What a row is about, and a cell for each column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def grid(jobs: Sequence[JobNight]) -> Grid | None:
    """Lay the jobs of a night out by kernel.

    Args:
        jobs: Its jobs.

    Returns:
        None where there is one kernel only: a list says as much.
    """
    columns = tuple(dict.fromkeys(bare(job.job.spec.kernel) for job in jobs))
    if len(columns) < 2:
        return None
    rows: dict[str, dict[str, Cell]] = {}
    for job in jobs:
        spec = job.job.spec
        rows.setdefault(_what(spec), {})[bare(spec.kernel)] = _cell(job)
    empty = Cell()
    return Grid(
        columns,
        tuple(
            (what, tuple(found.get(name, empty) for name in columns))
            for what, found in rows.items()
        ),
    )


def _what(spec: Job) -> str:
    """The title of a job without its kernel."""
    return spec.title.split(SEPARATOR, 1)[1]


def _cell(job: JobNight) -> Cell:
    known = sum(test.verdict is Verdict.XFAILED for test in job.tests)
    words = job.verdict.value
    if known:
        words += f", {known} expected failure{'s' if known > 1 else ''}"
    return Cell(title=job.job.title, verdict=job.verdict.value, words=words)
