# SPDX-License-Identifier: GPL-2.0-only
"""The verdict: what is asserted about a hibernation, whatever the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.base.errors import CheckFailedError
from harness.cycle import witness
from harness.cycle.checks.check import check
from harness.cycle.checks.image import (
    FREE_PAGES_TOLERANCE,
    IMAGE_CHECKS,
    free_content_counts,
    free_pages,
    image_checks,
)
from harness.cycle.checks.kernel import LOG_GOES_ON, goes_on_check, kernel_checks
from harness.cycle.checks.log import LOG_CHECKS, log_checks
from harness.cycle.checks.power import power_check, qemu_was
from harness.cycle.checks.spawned import spawned_checks
from harness.cycle.seen import Before, Seen, inspect, observe
from harness.cycle.witness import Witness
from harness.guest.witnesses import witnesses
from harness.machine.machine import Machine
from harness.record.result import Check
from harness.ways.way import Way

__all__ = [
    "FREE_PAGES_TOLERANCE",
    "LOG_CHECKS",
    "MACHINE_CHECKS",
    "Before",
    "Seen",
    "baseline_checks",
    "cycle_checks",
    "free_content_counts",
    "free_pages",
    "goes_on_check",
    "inspect",
    "kernel_checks",
    "log_checks",
    "machine_checks",
    "observe",
    "power_check",
    "qemu_was",
    "require",
    "userland_checks",
]

MACHINE_CHECKS = (
    "kernel.boot-id",
    "kernel.uptime",
    "kernel.cpus",
    "kernel.frozen",
    "kernel.devices",
    "kernel.clocks",
    "jump.outcome",
    "jump.registers",
    "spawned.boot-ids",
    "spawned.hibernating-memory",
    "spawned.resuming-memory",
    "spawned.paging",
    "restore.way",
    "power.off-in-between",
    *IMAGE_CHECKS,
)


def cycle_checks(*, only: str = "") -> tuple[str, ...]:
    """Every check of a full cycle, known before it runs: each is a test of its own.

    Args:
        only: The one kind of state that its witness holds; empty for all.

    Raises:
        PrerequisiteError: The witness, which is asked for its own, cannot be built.
    """
    return (
        *(f"witness.{facts.name}" for facts in witnesses() if only in ("", facts.name)),
        *(f"proc.{name}" for name in witness.PROC_CHECKS),
        *MACHINE_CHECKS,
        *LOG_CHECKS,
        LOG_GOES_ON,
    )


def userland_checks(machine: Machine, holder: Witness, before: Before) -> list[Check]:
    """All that ran goes on: the witness, and each process by /proc.

    Args:
        machine: A running machine.
        holder: The witness in it.
        before: What was seen before.
    """
    # In a userland that is not ours others work as well: those that were there before it.
    first = before.processes.get(holder.pid) if machine.root_words else None
    since = int(first.aspects["start-time"]) if first else 0
    # /proc first: a check of the witness may well move something.
    after = witness.processes(machine, like=before.processes, since=since)
    return [*holder.check(), *witness.compare(before.processes, after, since=since)]


def machine_checks(machine: Machine, before: Before, seen: Seen, *, way: Way) -> list[Check]:
    """What a machine went through that was left by KSPAWN, and resumed.

    Args:
        machine: A machine that was resumed.
        before: What was seen before.
        seen: What was seen on the way.
        way: The way back that it took.
    """
    outcome = str(seen.back.get("outcome"))
    return [
        *kernel_checks(machine, before),
        check(
            "jump.outcome",
            outcome == way.outcome,
            f"{seen.back.get('command')}, back from: {outcome}",
        ),
        _registers(seen.back),
        *spawned_checks(machine, before, seen, way=way),
        _power(machine, before),
        *image_checks(machine, before, seen),
    ]


def baseline_checks(machine: Machine, before: Before, way: Way) -> list[Check]:
    """What a machine went through that took a way without an image of ours.

    Args:
        machine: A machine that is back.
        before: What was seen before.
        way: The way that it took.
    """
    backs = [line for line in machine.status_lines if line.get("event") == "back"]
    back = backs[-1] if backs else {}
    lives = machine.lives[before.lives - 1 :]
    on = check("power.on-throughout", len(lives) == 1, qemu_was(lives))
    registers = [_registers(back)] if "register_lost" in back else []
    return [
        *kernel_checks(machine, before),
        check(
            "jump.outcome",
            back.get("outcome") == way.outcome,
            f"{back.get('command')}, back from: {back.get('outcome')}",
        ),
        *registers,
        _power(machine, before) if way.back else on,
    ]


def _registers(back: Mapping[str, Any]) -> Check:
    """The process that jumped has its registers, as shared/held_registers.c found them.

    PKRU is told of and not judged: no kernel keeps it, see the known bug of that name.
    """
    lost = back.get("register_lost")
    kept = "general, flags, x87, vector, control words, bases of FS and GS"
    if keys := back.get("pkru_lost"):
        kept += f"; a known bug: {keys}"
    return check("jump.registers", lost == "", str(lost or kept))


def _power(machine: Machine, before: Before) -> Check:
    lives = machine.lives[before.lives - 1 :]
    return power_check(lives, reset=machine.config.after == "reset")


def require(checks: Sequence[Check]) -> None:
    """End a test with the checks that do not hold, named as those of a cycle are.

    Args:
        checks: All that were made.

    Raises:
        CheckFailedError: One does not hold, or none was made.
    """
    failed = [check for check in checks if not check.ok]
    if failed or not checks:
        details = "; ".join(f"{check.name}: {check.detail}" for check in failed[:5])
        raise CheckFailedError(
            f"{len(failed)} of {len(checks)} checks: {details}",
            checks=[check.name for check in failed],
        )
