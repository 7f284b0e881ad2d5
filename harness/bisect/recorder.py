# SPDX-License-Identifier: GPL-2.0-only
"""A pytest plugin that writes down what failed, as data.

It is loaded by `-p harness.bisect.recorder`, and writes JSON lines into the
file that KSPAWN_RECORD names: one for each test that failed, one at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from harness.base import processes
from harness.base.errors import KernelError, KspawnError
from harness.bisect import outcome

VARIABLE = "KSPAWN_RECORD"
_counts = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    processes.heed_interrupts()
    config.stash[_counts] = {"passed": 0, "skipped": 0}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down a failure."""
    report = yield
    counts = item.config.stash[_counts]
    if report.when == "call" and report.passed:
        counts["passed"] += 1
    if report.skipped:
        counts["skipped"] += 1
    if report.failed and call.excinfo is not None and not _of_a_cycle(item, call.excinfo.value):
        _write({"event": "failure", "test": item.nodeid, "report": _report(item, call)})
    return report


def _of_a_cycle(item: pytest.Item, error: BaseException) -> bool:
    """Whether its failure is in a result.json as well, which says more."""
    fixtures = getattr(item, "fixturenames", ())
    return "cycle_result" in fixtures and not isinstance(error, KspawnError)


def _report(item: pytest.Item, call: pytest.CallInfo[None]) -> dict[str, Any]:
    assert call.excinfo is not None
    error = call.excinfo.value
    text = str(error).strip() or type(error).__name__
    report = outcome.Report(
        reason=text.splitlines()[0],
        marks=outcome.error_marks(error, test=item.nodeid),
        broken=text if outcome.is_broken(error) else "",
        no_boot=isinstance(error, KspawnError) and error.phase in outcome.BOOT_PHASES,
        log_tail=error.log_tail if isinstance(error, KernelError) else "",
    )
    return report.model_dump()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write down that this is all."""
    counts = session.config.stash[_counts]
    _write({"event": "end", "status": int(exitstatus), **counts})


def _write(line: dict[str, Any]) -> None:
    with Path(os.environ[VARIABLE]).open("a") as file:
        file.write(json.dumps(line) + "\n")
