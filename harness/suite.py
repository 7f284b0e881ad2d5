# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of all ways back share: one cycle, each check of it a test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from harness.machine import Machine, State
from harness.result import Result, Verdict
from harness.verdict import CYCLE_CHECKS


class CycleSuite:
    """One cycle of the way back that a suite is about.

    A suite derives from it, and names its way back; without a name it is the
    one that the user chose.
    """

    resume_path: ClassVar[str | None] = None

    def test_verdict(self, cycle_result: Result) -> None:
        """The whole of it passed."""
        assert cycle_result.verdict is Verdict.PASSED, cycle_result.reason

    @pytest.mark.parametrize("name", CYCLE_CHECKS)
    def test_check(self, cycle_result: Result, name: str) -> None:
        """One of the checks was made, and held."""
        found = [check for check in cycle_result.checks if check.name == name]
        assert found, f"the check was not made: {cycle_result.reason}"
        assert found[0].ok, found[0].detail


@dataclass
class Hibernated:
    """A hibernated machine, the boot_id in its image, and a copy of that."""

    machine: Machine
    boot_id: str
    good: Path

    def again(self) -> Machine:
        """The machine, switched off, with its good image on the disk."""
        if self.machine.state is State.RUNNING:
            self.machine.unplug()
        shutil.copy(self.good, self.machine.disk)
        return self.machine
