# SPDX-License-Identifier: GPL-2.0-only
"""A resuming kernel that finds no image takes all of RAM, and is a normal kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

from harness.base.errors import StateError
from harness.machine import resuming
from harness.machine.commandline import NORMAL_LINE, NORMAL_OPTIONS, RESTRICTED, SPAWNED_LINE
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.ways import restricted


def resume_or_start(machine: Machine, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
    """Boot the resuming kernel; without an image it goes on as a normal one.

    It adds the memory above 16 MiB block by block, and starts the normal
    userland from the machine's second disk. Its console stays where it was,
    so the kernels that it spawns log to the other port.

    Args:
        machine: A machine that is switched off.
        append: More of the resuming kernel's command line.
        scribble: As of `Machine.resume`.

    Returns:
        The status line of the kernel that is running now: "ready" if it was
        started, "back" if it was resumed.

    Raises:
        StateError: The machine has no disk with a userland.
        RefusedError: There is no good image, and it could not go on: the
            power is off again.
        KernelError: A kernel crashed or hung.
    """
    if not machine.userland_disk:
        raise StateError("the machine has no disk with the normal userland")
    settle = resuming.switched_off(machine, machine.state)
    with machine.transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
        machine.state = State.RESUMING
        userland = f"kspawn.userland={machine.disk_name('b')}"
        role = f"kspawn.role=resuming kspawn.scribble={scribble:d}"
        # Said here, for a log in 0-16 MiB is too short to have it for long.
        words = f"{RESTRICTED} {NORMAL_OPTIONS} init_on_free=0"
        resuming.boot(machine, f"{words} {role} {userland} {append}", scribble=scribble)
        memory = machine.config.memory_bytes
        limit = machine.timeouts.deadline("restore", "the image", memory=memory)
        with machine.timeline.phase("restore", boot=machine.boot_number, kernel="resuming"):
            line = machine.wait_status("resuming", "restored", "refused", deadline=limit)
        if line["event"] == "restored":
            return resuming.resumed(machine)
        with machine.refusable(settle):
            return _grown(machine)


def _grown(machine: Machine) -> dict[str, Any]:
    """Wait for the userland of a kernel that took all of RAM."""
    with machine.timeline.phase("grow", boot=machine.boot_number, kernel="resuming"):
        limit = machine.timeouts.deadline("boot", "the userland of the resuming kernel")
        ready = machine.wait_status("normal", "ready", deadline=limit)
    machine.host_key = str(ready["hostkey"])
    machine.grown = True
    on_spawned = machine.spawned_line == SPAWNED_LINE
    machine.spawned_line = NORMAL_LINE if on_spawned else SPAWNED_LINE
    machine.connect()
    return ready


WAY = dataclasses.replace(
    restricted.WAY,
    name="no-image",
    title="a resuming kernel without an image becomes a normal one, and is hibernated itself",
    boots="the resuming kernel, which hot-adds the rest and is [a normal one](docs/no-image.md)",
    memory="nothing to resume; it is hibernated itself",
    suite="no_image",
    start=lambda machine, append: resume_or_start(machine, append=append),
    userland_disk=True,
    by_default=False,
)
