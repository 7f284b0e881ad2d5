# SPDX-License-Identifier: GPL-2.0-only
"""The resuming kernel restores by kexec_load(2) alone, as a crash kernel is loaded."""

from __future__ import annotations

from typing import Any

from harness.kernel.needs import Need
from harness.machine.machine import Machine
from harness.ways import restricted
from harness.ways.way import Kind, Way

# The resuming kernel restores by kexec_load(2), and can do nothing else.
WORDS = "kspawn.in_place=1 kspawn.dev_mem=0"


def resume(machine: Machine, *, append: str = "", scribble: bool = True) -> dict[str, Any]:
    """Boot the resuming kernel in 0-16 MiB, which restores by kexec_load(2) alone.

    It has no /dev/mem: that is removed before anything else is done.

    Args:
        machine: A machine that is switched off.
        append: More of the resuming kernel's command line.
        scribble: Fill RAM above 16 MiB with a pattern first.

    Returns:
        The status line of the kernel that is back.

    Raises:
        RefusedError: There is no good image, or the kernel has no
            KEXEC_IN_PLACE; the power is off again.
        KernelError: A kernel crashed or hung.
    """
    return machine.resume(append=f"{WORDS} {append}".strip(), scribble=scribble)


WAY = Way(
    name="in-place",
    kind=Kind.RESUME,
    title="a kernel in 0-16 MiB restores the memory by kexec_load alone, and jumps back",
    boots="the same, [patched](docs/resume-in-place.md)",
    memory="by kexec_load alone, then jump back",
    suite="in_place",
    leave=restricted.leave,
    back=lambda machine, append: resume(machine, append=append),
    restored_by="kexec_load",
    dev_mem_gone=True,
    needs=(
        Need("KEXEC_IN_PLACE", "kexec_load writes memory where it belongs"),
        Need("STRICT_DEVMEM", "nothing else is to write it"),
    ),
    needs_hint="its patches and fragments are listed in docs/resume-in-place.md",
)
