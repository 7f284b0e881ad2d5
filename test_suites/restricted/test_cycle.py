# SPDX-License-Identifier: GPL-2.0-only
"""Does a kernel hibernate through a kexec jump, and come back whole?

One cycle is run, and each thing that is asserted about it is a test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cycle import Cycle
from harness.lab import Lab
from harness.result import Result, Verdict
from harness.timeline import Timeline
from harness.verdict import CYCLE_CHECKS

pytestmark = [pytest.mark.vm, pytest.mark.ci]


@pytest.fixture(scope="module")
def result(
    lab: Lab,
    run_folder: Path,
    new_timeline: Callable[[], Timeline],
    pytestconfig: pytest.Config,
) -> Result:
    given = pytestconfig.getoption("--run-folder")
    return Cycle(
        lab=lab,
        folder=run_folder if given else run_folder / "cycle",
        timeline=new_timeline(),
        resume_path=pytestconfig.getoption("--resume-path"),
    ).run()


def test_verdict(result: Result) -> None:
    assert result.verdict is Verdict.PASSED, result.reason


@pytest.mark.parametrize("name", CYCLE_CHECKS)
def test_check(result: Result, name: str) -> None:
    found = [check for check in result.checks if check.name == name]
    assert found, f"the check was not made: {result.reason}"
    assert found[0].ok, found[0].detail
