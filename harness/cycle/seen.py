# SPDX-License-Identifier: GPL-2.0-only
"""What is noted before a hibernation and on the way, for the checks afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.base import processes
from harness.base.errors import HarnessError
from harness.cycle import witness
from harness.cycle.witness import Process
from harness.image import zones
from harness.image.image import Image, ImageError
from harness.machine.machine import Machine


@dataclass
class Before:
    """What was seen before the hibernation."""

    processes: Mapping[int, Process]
    boot_id: str
    release: str
    uptime: float
    cmdline: str
    lives: int = 0


@dataclass
class Seen:
    """What was seen on the way; filled in by the cycle."""

    image: Image | None = None
    image_error: str = ""
    # While the power was off: bytes of its data in the file, and what had the RAM.
    written_bytes: int = 0
    qemu_runs: bool = True
    # What the kernel in the image counts as free, in pages; or why that is not known.
    counted: int | None = None
    uncounted: str = ""
    back: dict[str, Any] = field(default_factory=dict)


def observe(machine: Machine) -> Before:
    """Note what must be the same afterwards.

    Args:
        machine: A running machine.
    """
    return Before(
        processes=witness.processes(machine),
        boot_id=boot_id(machine),
        release=machine.run("uname -r").check().strip(),
        uptime=uptime(machine),
        cmdline=machine.run("cat /proc/cmdline").check(),
        lives=len(machine.lives),
    )


def inspect(machine: Machine) -> Seen:
    """Look at the image while the power is off.

    Args:
        machine: A machine that was hibernated.
    """
    seen = Seen()
    try:
        seen.image = Image(machine.disk)
        seen.written_bytes = seen.image.written_bytes()
        seen.image.verify()
        seen.counted, seen.uncounted = _counted_free(seen.image)
    except ImageError as exc:
        seen.image_error = str(exc)
    seen.qemu_runs = processes.runs(*machine.lives[-1])
    return seen


def _counted_free(image: Image) -> tuple[int | None, str]:
    """What the kernel in the image counts as free, or why that is not known."""
    try:
        return zones.counted_free(image), ""
    except (HarnessError, ImageError) as exc:
        return None, str(exc)


def boot_id(machine: Machine) -> str:
    """The boot_id of the normal kernel."""
    return machine.run("cat /proc/sys/kernel/random/boot_id").check().strip()


def uptime(machine: Machine) -> float:
    """How long the normal kernel says that it is up, in seconds."""
    return float(machine.run("cat /proc/uptime").check().split()[0])
