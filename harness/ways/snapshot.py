# SPDX-License-Identifier: GPL-2.0-only
"""No kexec at resume: a normal kernel feeds the image to its own /dev/snapshot."""

from __future__ import annotations

from typing import Any

from harness.machine.machine import Machine
from harness.ways import loader, restricted
from harness.ways.way import Kind, Loader, Way


def resume(machine: Machine, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
    """Boot a normal kernel with all its memory, which restores the image itself.

    It feeds it to /dev/snapshot; there is no kexec on this way back.

    Args:
        machine: A machine that is switched off.
        append: More of the loading kernel's command line.
        scribble: Fill its free memory with a pattern first.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: There is no good image, or it was not restored; the
            machine is running, with the kernel that was to load it.
        KernelError: A kernel crashed or hung.
    """
    pattern = "-p" if scribble else ""
    command = f"kspawn resume-snapshot -d {machine.disk_name()} {pattern}"
    return loader.resume_by(machine, command, append=append)


WAY = Way(
    name="snapshot",
    kind=Kind.RESUME,
    title="a normal kernel with all its memory feeds the image to /dev/snapshot",
    boots="a normal kernel, no kexec, [no patch](docs/resume-snapshot.md)",
    memory="through `/dev/snapshot`",
    suite="snapshot",
    leave=restricted.leave,
    back=lambda machine, append: resume(machine, append=append),
    loader=Loader.FULL,
    restored_by="/dev/snapshot",
    limits={
        "no-memory": "all of the image has to fit into the free memory of the kernel "
        "that loads it; the other ways back can still take it",
    },
)
