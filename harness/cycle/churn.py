# SPDX-License-Identifier: GPL-2.0-only
"""A process that changes memory all the time, for what goes by which pages are free."""

from __future__ import annotations

from typing import Any

from harness.cycle.witness import answer_of
from harness.machine.machine import Machine


def start(machine: Machine, *, mebibytes: int = 8) -> None:
    """Start a process that takes, dirties and frees memory all the time.

    Args:
        machine: A running machine.
        mebibytes: The most that it takes at once.
    """
    machine.run(f"witness churn start {mebibytes}").check()


def holes(machine: Machine, *, mebibytes: int) -> None:
    """Start a process that holds every second page of some memory.

    Args:
        machine: A running machine.
        mebibytes: The memory; half of it is free again once this returns.
    """
    machine.run(f"witness churn holes {mebibytes}").check()
    check(machine)


def check(machine: Machine) -> dict[str, Any]:
    """Whether that process still goes on, and found its memory as it must be.

    Args:
        machine: A running machine.

    Returns:
        What it says: ok, alive, rounds, and pages that were not_zero or lost.
    """
    return answer_of(machine.run("witness churn check").out)
