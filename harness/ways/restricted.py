# SPDX-License-Identifier: GPL-2.0-only
"""The way of the proposal: a kernel in 0-16 MiB restores the memory, and jumps back."""

from __future__ import annotations

from typing import Any

from harness.machine.machine import Machine
from harness.ways.way import Kind, Way


def leave(machine: Machine, append: str) -> object:
    """Hibernate through KSPAWN; see `Machine.hibernate`."""
    return machine.hibernate(append=append)


def back(machine: Machine, append: str) -> dict[str, Any]:
    """Resume by the resuming kernel; see `Machine.resume`."""
    return machine.resume(append=append)


WAY = Way(
    name="restricted",
    kind=Kind.RESUME,
    title="a kernel in 0-16 MiB restores the memory through /dev/mem, and jumps back",
    boots="the resuming kernel, in 0-16 MiB",
    memory="through `/dev/mem`, then jump back",
    suite="restricted",
    leave=leave,
    back=back,
    restored_by="/dev/mem",
)
