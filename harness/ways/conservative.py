# SPDX-License-Identifier: GPL-2.0-only
"""The conservative way: a normal kernel finds the image, and kexecs the resuming kernel."""

from __future__ import annotations

from typing import Any

from harness.machine import resuming
from harness.machine.commandline import NORMAL_LINE, RESTRICTED
from harness.machine.machine import Machine
from harness.machine.states import State
from harness.ways import loader, restricted
from harness.ways.way import Kind, Loader, Way


def resume(machine: Machine, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
    """Boot a normal kernel with all its memory, which starts the resuming one.

    It finds the image and starts, by a plain kexec, a resuming kernel in
    0-16 MiB; that goes on as with `Machine.resume`.

    Args:
        machine: A machine that is switched off.
        append: More of the resuming kernel's command line.
        scribble: Fill RAM above 16 MiB with a pattern first.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: There is no good image. If its header says so, the
            machine is running, with the kernel that looked at it; if its
            data do, the power is off again.
        KernelError: A kernel crashed or hung.
    """
    with machine.transition(State.HIBERNATED, State.OFF, to=State.RUNNING):
        machine.state = State.RESUMING
        loader.boot(machine, line=NORMAL_LINE, logs=("normal", "resuming"))
        with machine.refusable(lambda: State.RUNNING):
            loader.find_image(machine)
        role = f"kspawn.role=resuming kspawn.scribble={scribble:d}"
        loader.kexec(machine, f"{RESTRICTED} {role} {append}")
        with machine.refusable(resuming.switched_off(machine, State.HIBERNATED)):
            resuming.restored(machine)
            return resuming.resumed(machine)


WAY = Way(
    name="conservative",
    kind=Kind.RESUME,
    title="a normal kernel finds the image, and kexecs the kernel in 0-16 MiB that restores it",
    boots="a normal kernel, which kexecs the resuming kernel",
    memory="as `restricted`",
    suite="conservative",
    leave=restricted.leave,
    back=lambda machine, append: resume(machine, append=append),
    loader=Loader.FULL_THEN_RESTRICTED,
    restored_by="/dev/mem",
)
