# SPDX-License-Identifier: GPL-2.0-only
"""How far a hibernation of pm_test went is told by the kernel's log, and by nothing else.

The logs are real ones of 6.12.117, one of each level.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.ways import pm_test

LOGS = Path(__file__).parent / "logs"
LEVELS = list(pm_test.LEVELS)


def log(level: str) -> str:
    return (LOGS / f"pm_test-{level}.txt").read_text()


@pytest.mark.parametrize("level", LEVELS)
def test_depth(level: str) -> None:
    assert pm_test.depth(log(level)) == level


@pytest.mark.parametrize("level", LEVELS)
def test_the_last_time_counts(level: str) -> None:
    assert pm_test.depth(log("core") + log(level)) == level


@pytest.mark.parametrize("level", LEVELS)
def test_what_comes_after_the_wait_does_not_count(level: str) -> None:
    _, wait, back = log(level).partition("debug: Waiting for 5 seconds")
    before = log("freezer").partition("debug: Waiting for 5 seconds")[0]
    assert pm_test.depth(before + wait + back + "Disabling non-boot CPUs") == "freezer"


def test_a_hibernation_that_did_not_wait() -> None:
    assert pm_test.depth(log("core").replace("Waiting for 5 seconds", "")) == "none"


@pytest.mark.parametrize("level", LEVELS[:-1])
def test_a_step_that_was_left_out(level: str) -> None:
    lines = log("core").splitlines()
    assert any(pm_test.LEVELS[level].search(line) for line in lines)
    left = "\n".join(line for line in lines if not pm_test.LEVELS[level].search(line))
    assert pm_test.depth(left) == "odd"
