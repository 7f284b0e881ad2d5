# SPDX-License-Identifier: GPL-2.0-only
"""What suites share: one cycle, each check of it a test; a hibernated machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from harness.base.errors import ExitCode, KspawnError
from harness.cycle.checks.audit import AUDIT_CHECKS
from harness.cycle.checks.log import COMPLAINTS_CHECK
from harness.cycle.cycle import Cycle
from harness.cycle.script import NAME as SCRIPT_CHECK
from harness.cycle.verdict import cycle_checks
from harness.cycle.witness import Witness
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.record.result import Result, Verdict
from harness.report.junit import complaint_properties

NewCycle = Callable[..., Cycle]
"""What the fixture `new_cycle` gives: takes what else `Cycle` takes."""

# On such a kernel no jump comes back.
NO_GDT = pytest.mark.known_bug("gdt")

# Baselines that a kernel is known to fail.
BASELINE_BUGS = {"test_resume": [pytest.mark.known_bug("test-resume")]}


class CycleSuite:
    """One cycle of the way back that a suite is about.

    A suite derives from it, and names its way back; without a name it is the
    one that the user chose.
    """

    resume_path: ClassVar[str | None] = None
    # Per cent of MemTotal that the witness fills.
    fill: ClassVar[int | None] = None
    # More of the command line of the kernel that brings it back.
    resuming_append: ClassVar[str] = ""

    def test_verdict(self, cycle_result: Result) -> None:
        """The whole of it passed."""
        assert cycle_result.verdict is Verdict.PASSED, cycle_result.reason

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each check; the witness is built to say which it has."""
        if metafunc.function.__name__ == "test_check":
            try:
                names = cycle_checks(only=metafunc.config.getoption("--witness"))
            except KspawnError as exc:
                pytest.exit(f"kspawn: {exc}", returncode=int(exc.exit_code))
            if not metafunc.config.getoption("--no-audit"):
                names = (*names, *AUDIT_CHECKS)
            if metafunc.config.getoption("--run"):
                names = (*names, SCRIPT_CHECK)
            metafunc.parametrize("name", names)

    def test_check(
        self, cycle_result: Result, name: str, record_property: Callable[[str, object], None]
    ) -> None:
        """One of the checks was made, and held."""
        if name == COMPLAINTS_CHECK:
            for key, value in complaint_properties(cycle_result):
                record_property(key, value)
        audit = cycle_result.audit
        if name in AUDIT_CHECKS and audit is not None and audit.cannot:
            pytest.skip(f"there was no audit: {audit.reason}")
        if name in cycle_result.not_here:
            pytest.skip(f"not here: {cycle_result.not_here[name]}")
        found = [check for check in cycle_result.checks if check.name == name]
        assert found, f"the check was not made: {cycle_result.reason}"
        assert found[0].ok, found[0].detail


def assert_only_failed(result: Result, *names: str) -> dict[str, str]:
    """Assert that a cycle failed, by just these checks.

    Args:
        result: What the cycle found.
        names: The names of the checks.

    Returns:
        What each of them saw, by name.
    """
    failed = {check.name: check.detail for check in result.checks if not check.ok}
    assert set(failed) == set(names), f"{failed} {result.reason}"
    assert result.verdict is Verdict.FAILED
    assert result.exit_code == ExitCode.CHECK_FAILED
    return failed


@dataclass
class Hibernated:
    """A hibernated machine, the boot_id and the host key in its image, and a copy of that."""

    machine: Machine
    boot_id: str
    host_key: str
    good: Path

    @classmethod
    def from_boot(cls, machine: Machine) -> Hibernated:
        """Boot a machine that is switched off, with a witness, and hibernate it.

        Args:
            machine: The machine.

        Raises:
            RefusedError: It was not hibernated.
            KernelError: A kernel crashed or hung.
        """
        boot_id = str(machine.boot()["boot_id"])
        Witness.start(machine)
        machine.hibernate()
        good = machine.disk.with_suffix(".good")
        shutil.copy(machine.disk, good)
        return cls(machine, boot_id, machine.image_key, good)

    def again(self) -> Machine:
        """The machine, switched off, with its good image on the disk."""
        if self.machine.state is State.RUNNING:
            self.machine.unplug()
        shutil.copy(self.good, self.machine.disk)
        # A test may have hibernated another kernel.
        self.machine.image_key = self.host_key
        return self.machine
