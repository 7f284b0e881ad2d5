# SPDX-License-Identifier: GPL-2.0-only
"""Whether the power was off in between, or on throughout."""

from __future__ import annotations

from collections.abc import Sequence

from harness.cycle.checks.check import check
from harness.record.result import Check


def power_check(lives: Sequence[tuple[int, int]], *, reset: bool) -> Check:
    """The power was off in between; or there was a reset, where that is what is wanted.

    Args:
        lives: The process and its start time of each life of QEMU, or of each boot
            of one that was reset.
        reset: Whether a reset is wanted.
    """
    separate = len(set(lives)) == (1 if reset else len(lives))
    return check(
        "power.off-in-between",
        len(lives) >= 2 and separate and all(pid for pid, _ in lives),
        qemu_was(lives) + (", after a reset" if reset else ""),
    )


def qemu_was(lives: Sequence[tuple[int, int]]) -> str:
    """The lives of QEMU in words.

    Args:
        lives: The process and its start time of each.
    """
    return "QEMU was " + ", then ".join(f"{pid} (began at {began})" for pid, began in lives)
