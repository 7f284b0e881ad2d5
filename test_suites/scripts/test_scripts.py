# SPDX-License-Identifier: GPL-2.0-only
"""A script of the user's through a cycle, and a witness that failed, alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.base.errors import ExitCode
from harness.cycle.cycle import Cycle
from harness.cycle.script import NAME
from harness.machine.lab import Lab
from harness.plugin.suite import NewCycle, assert_only_failed
from harness.record.result import Verdict
from harness.record.timeline import Timeline

pytestmark = [pytest.mark.vm]

GOOD = "echo seven >/tmp/file; sleep 1000 & cycle; kill $! && grep seven /tmp/file"
LOST = "cycle; echo it was lost; exit 3"
WITHOUT = "echo oops; exit 4"


def test_script_that_holds(new_cycle: NewCycle) -> None:
    """Its process, and a file of it, are there again; what it prints is in the result."""
    result = new_cycle(script=GOOD).run()
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    [found] = [check for check in result.checks if check.name == NAME]
    assert found.detail == "exit code 0: seven"


@pytest.mark.ci
def test_script_that_fails(new_cycle: NewCycle) -> None:
    found = assert_only_failed(new_cycle(script=LOST).run(), NAME)
    assert found == {NAME: "exit code 3: it was lost"}


@pytest.mark.ci
def test_script_that_forgets_the_cycle(new_cycle: NewCycle) -> None:
    result = new_cycle(script=WITHOUT).run()
    assert result.exit_code == ExitCode.USAGE
    assert "the script ended with 4 before it called `cycle`: oops" in result.reason


class Repeated(Cycle):
    """A cycle whose damage stands for a fault of the kernel's."""

    _repeatable = True


def test_failed_witness_is_run_again_alone(lab: Lab, folder: Path) -> None:
    """One fails alone as well; the other holds there."""

    def damage(cycle: Cycle) -> None:
        for name in ("eventfd", *(() if cycle.only else ("tcp",))):
            if cycle.only in ("", name):
                cycle.witness.damage(name)

    cycle = Repeated(lab=lab, folder=folder, timeline=Timeline(), mutate_running=damage)
    found = assert_only_failed(cycle.run(), "witness.eventfd", "witness.tcp")
    alone = {
        name: detail.rpartition("alone in a cycle of its own: ")[2]
        for name, detail in found.items()
    }
    assert alone["witness.tcp"] == "it held"
    assert alone["witness.eventfd"].startswith("1 of ")
    assert (folder / "alone-tcp" / "result.json").exists()
