# SPDX-License-Identifier: GPL-2.0-only
"""It is the same kernel as before."""

from __future__ import annotations

from harness.cycle.checks.check import check
from harness.cycle.seen import Before, boot_id, uptime
from harness.machine.machine import Machine
from harness.record.result import Check


def kernel_checks(machine: Machine, before: Before) -> list[Check]:
    """It is the same kernel as before.

    Args:
        machine: A running machine.
        before: What was seen before.
    """
    now, up = boot_id(machine), uptime(machine)
    return [
        check("kernel.boot-id", now == before.boot_id, f"{before.boot_id} → {now}"),
        check(
            "kernel.uptime",
            up >= before.uptime,
            f"{before.uptime:.1f} s → {up:.1f} s",
        ),
    ]
