# SPDX-License-Identifier: GPL-2.0-only
"""Hibernation from user space: a program reads the image from /dev/snapshot."""

from __future__ import annotations

import shlex
from typing import Any

from harness.image import swap_image
from harness.machine.commandline import fill_free_memory
from harness.machine.machine import Machine
from harness.ways import loader, swsusp
from harness.ways.way import Kind, Way


def hibernate(machine: Machine) -> None:
    """Hibernate from user space, until the power is off.

    A program reads the image from /dev/snapshot and writes it to the swap
    area that the disk is made into (Documentation/power/userland-swsusp.rst).

    Args:
        machine: A running machine.

    Raises:
        RefusedError: The image was not made or not written; the machine
            is running.
        KernelError: A kernel crashed or hung.
    """
    option = "-r " if machine.config.after == "reset" else ""
    swsusp.leave_by(machine, f"uswsusp save {option}-d {machine.disk_name()}")


def resume(machine: Machine, *, scribble: bool = False) -> dict[str, Any]:
    """Boot a kernel whose userland feeds the image to /dev/snapshot.

    Args:
        machine: A machine that is switched off.
        scribble: Fill its free memory with a pattern first.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: There is no good image, or it was not restored; the
            machine is running, with the kernel that was to load it.
        KernelError: A kernel crashed or hung.
    """
    command = f"uswsusp resume -d {machine.disk_name()}"
    if scribble:
        command = f"sh -c {shlex.quote(f'{fill_free_memory()} && exec {command}')}"
    return loader.resume_by(machine, command)


WAY = Way(
    name="uswsusp",
    kind=Kind.CLASSIC,
    title="a program writes and reads /dev/snapshot, power off in between",
    boots="a normal kernel",
    memory="the kernel's own ways",
    suite="baselines",
    leave=lambda machine, _append: hibernate(machine),
    back=lambda machine, _append: resume(machine),
    read=swap_image.read_uswsusp,
)
