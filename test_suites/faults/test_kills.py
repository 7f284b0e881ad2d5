# SPDX-License-Identifier: GPL-2.0-only
"""Whenever whatever of a command is killed or stopped: is nothing left, and is the next right?

Signals at random moments of a cycle and of a matrix, at the harness, QEMU and all that is
between them. After each, nothing may be left within five seconds: no process, no runtime
folder, no disk. Before the first and after the last, the same command has to go well.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.machine.lab import Lab
from harness.plugin.faults import Figures
from test_suites.faults.campaigns import Campaign, cycle_words, matrix_words
from test_suites.faults.victims import Place, Shot

pytestmark = [pytest.mark.vm]
ROLES = ("harness", "harness", "qemu", "guard", "minder")


@pytest.mark.ci
def test_two_shots_at_a_cycle(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """What `./kspawn test` has of it: the moments differ from day to day."""
    campaign = Campaign(
        here, cycle_words(lab, folder / "results"), ("harness", "qemu"), figures, folder
    )
    chosen = random.Random(figures.seed)
    for _ in range(2):
        campaign.shoot(Shot.choose(chosen, campaign.roles, 8))
    figures("two shots at a cycle", left_over=0, **dict(campaign.shots))


def test_shots_at_a_cycle(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    campaign = Campaign(here, cycle_words(lab, folder / "results"), ROLES, figures, folder)
    campaign.go("shots at a cycle", figures.count)


def test_shots_at_a_matrix(here: Place, lab: Lab, folder: Path, figures: Figures) -> None:
    """A night that was ended goes on; a job that was is flaky, or of no word on the kernel."""
    roles = ("harness", "pytest", "qemu", "guard", "minder")
    codes = frozenset({0, 5, 6})
    reasons = "QEMU|pytest was|flaky"
    campaign = Campaign(here, matrix_words(lab, folder), roles, figures, folder, codes, reasons)
    campaign.go("shots at a matrix", max(2, figures.count // 2))
