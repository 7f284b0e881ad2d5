# SPDX-License-Identifier: GPL-2.0-only
"""What the kernels reported."""

from __future__ import annotations

from harness.cycle.checks.check import check
from harness.machine.machine import Machine
from harness.record.result import Check

LOG_CHECK = "log.no-splats"
COMPLAINTS_CHECK = "log.no-complaints"
LOG_CHECKS = (LOG_CHECK, COMPLAINTS_CHECK)


def log_checks(machine: Machine) -> list[Check]:
    """No kernel reported or complained of anything unexpected.

    Args:
        machine: A machine whose logs were read to their end.
    """
    return [_no_splats(machine), no_complaints(machine)]


def _no_splats(machine: Machine) -> Check:
    unexpected = [splat for splat in machine.splats if not splat.expected]
    if unexpected:
        first = unexpected[0]
        return check(LOG_CHECK, False, f"{len(unexpected)}, first: {first.kind}: {first.title}")
    if other := [log.path.name for log in machine.logs if log.hardly_kernel]:
        return check(LOG_CHECK, False, f"hardly a line of a kernel is in {', '.join(other)}")
    sizes = sum(log.position for log in machine.logs)
    return check(LOG_CHECK, sizes > 0, f"none in {sizes} bytes of logs")


def no_complaints(machine: Machine) -> Check:
    """No kernel complained of anything that is not expected or tolerated.

    Args:
        machine: A machine whose logs were read to their end.
    """
    found = machine.complaints
    bad = [complaint for complaint in found if complaint.bad]
    if bad:
        lines = "; ".join(complaint.line() for complaint in bad[:5])
        return check(COMPLAINTS_CHECK, False, f"{len(bad)}: {lines}")
    tolerated = sum(bool(complaint.tolerated) for complaint in found)
    expected = sum(complaint.expected for complaint in found)
    return check(COMPLAINTS_CHECK, True, f"none but {tolerated} tolerated, {expected} expected")
