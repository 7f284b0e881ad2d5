# SPDX-License-Identifier: GPL-2.0-only
"""What the kernels reported."""

from __future__ import annotations

from harness.cycle.checks.check import check
from harness.machine.machine import Machine
from harness.record.result import Check

LOG_CHECK = "log.no-splats"


def log_check(machine: Machine) -> Check:
    """No kernel reported anything unexpected."""
    unexpected = [splat for splat in machine.splats if not splat.expected]
    if unexpected:
        first = unexpected[0]
        return check(LOG_CHECK, False, f"{len(unexpected)}, first: {first.kind}: {first.title}")
    sizes = sum(log.position for log in machine.logs)
    return check(LOG_CHECK, sizes > 0, f"none in {sizes} bytes of logs")
