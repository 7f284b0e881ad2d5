# SPDX-License-Identifier: GPL-2.0-only
"""drgn and gdb on what a failed run kept."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

from harness.base.cache import Notify, quiet
from harness.base.errors import HarnessError, UsageError
from harness.base.terminal import echo
from harness.image import vmcore
from harness.machine.keep import Kept


def core_of(kept: Kept, *, image: bool = False, notify: Notify = quiet) -> Path:
    """A core of the normal kernel, as debuggers open it.

    Args:
        kept: What a run kept.
        image: The hibernation image, not the memory of the machine.
        notify: Told what takes long.

    Returns:
        The core, beside what was kept.

    Raises:
        UsageError: That was not kept.
        HarnessError: The normal kernel had not come up, or its memory was just
            being exchanged.
    """
    name = kept.image if image else kept.memory
    if name is None:
        what = "hibernation image" if image else "memory"
        other = "--image" if kept.image and not image else ""
        raise UsageError(
            f"the run kept no {what}{f': {kept.not_kept}' if kept.not_kept else ''}",
            hint=f"try {other}" if other else "",
        )
    core = kept.core(name)
    if not core.vmcoreinfo:
        raise HarnessError(f"{name} has no VMCOREINFO: the normal kernel had not come up")
    if not image:
        role = kept.running
        if role == "normal":
            # All is at its place, and the note was found when it was written.
            return kept.path(name)
        if role is None:
            raise HarnessError(
                f"{name} is of a machine amid a jump: it cannot be told which of the first "
                "16 MiB were exchanged already",
                hint="try --image" if kept.image else "",
            )
    target = kept.path("image.vmcore" if image else "memory.vmcore")
    if target.exists():
        return target
    notify("writing the core")
    pages = vmcore.exchanged_pages(core, kept.kernel("normal").symbols)
    vmcore.write(core, target, pages=pages)
    return target


def tasks(program: Any) -> list[tuple[int, str, str]]:
    """The tasks of a kernel.

    Args:
        program: The drgn.Program.

    Returns:
        PID, state and name of each, by PID.
    """
    return sorted(
        (int(task.pid), str(task_state_to_char(task)), task.comm.string_().decode(errors="replace"))
        for task in for_each_task(program)
    )


def say(message: str) -> None:
    """Tell a person what takes a while."""
    if sys.stderr.isatty():
        echo(message, to_stderr=True)


def run_script(program: Any, script: Sequence[str]) -> None:
    """Run a script of the user's with the memory as `prog`.

    Args:
        program: The memory.
        script: Its path, and its arguments.
    """
    drgn.set_default_prog(program)
    sys.argv = list(script)
    try:
        runpy.run_path(script[0], init_globals={"prog": program}, run_name="__main__")
    except OSError as exc:
        raise UsageError(f"{script[0]} cannot be run: {exc.strerror}") from None
    finally:
        drgn.set_default_prog(None)
