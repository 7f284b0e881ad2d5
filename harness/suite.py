# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of all ways back share: one cycle, each check of it a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from harness.cycle import Cycle
from harness.lab import Lab
from harness.result import Result, Verdict
from harness.timeline import Timeline
from harness.verdict import CYCLE_CHECKS


class CycleSuite:
    """One cycle of the way back that a suite is about.

    A suite derives from it, and names its way back; without a name it is the
    one that the user chose.
    """

    resume_path: ClassVar[str | None] = None

    @pytest.fixture(scope="class")
    def result(
        self,
        lab: Lab,
        run_folder: Path,
        new_timeline: Callable[[], Timeline],
        pytestconfig: pytest.Config,
    ) -> Result:
        """The result of the cycle."""
        chosen = self.resume_path or pytestconfig.getoption("--resume-path")
        folder = run_folder / (f"cycle-{self.resume_path}" if self.resume_path else "cycle")
        if pytestconfig.getoption("--run-folder") and self.resume_path is None:
            folder = run_folder
        return Cycle(lab=lab, folder=folder, timeline=new_timeline(), resume_path=chosen).run()

    def test_verdict(self, result: Result) -> None:
        """The whole of it passed."""
        assert result.verdict is Verdict.PASSED, result.reason

    @pytest.mark.parametrize("name", CYCLE_CHECKS)
    def test_check(self, result: Result, name: str) -> None:
        """One of the checks was made, and held."""
        found = [check for check in result.checks if check.name == name]
        assert found, f"the check was not made: {result.reason}"
        assert found[0].ok, found[0].detail
