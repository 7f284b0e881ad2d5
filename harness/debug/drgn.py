# SPDX-License-Identifier: GPL-2.0-only
"""drgn and gdb on what a failed run kept."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import drgn
from drgn.cli import run_interactive
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

from harness.audit.program import open_core
from harness.base.cache import Notify, quiet
from harness.base.errors import ExitCode, HarnessError, UsageError
from harness.base.terminal import echo
from harness.image import vmcore
from harness.machine import keep
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


@click.command("drgn")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("script", nargs=-1)
@click.option("--image", is_flag=True, help="The hibernation image, not the machine's memory.")
@click.option("--tasks", "only_tasks", is_flag=True, help="Print the list of tasks, and end.")
def drgn_command(run: Path, script: tuple[str, ...], image: bool, only_tasks: bool) -> int:
    """Open what a failed run kept in drgn: interactive, or with a SCRIPT and its arguments."""
    kept = keep.load(run)
    image = image or kept.memory is None
    core = core_of(kept, image=image, notify=_say)
    kernel = kept.kernel("normal")
    program = open_core(core, kernel, notify=_say)
    if only_tasks:
        for pid, state, name in tasks(program):
            echo(f"{pid:>7} {state} {name}")
    elif script:
        _run_script(program, script)
    else:
        what = "hibernation image" if image else f"memory, as it was {kept.state}"
        text = f"{kernel.name} {kernel.release}: {what}; {len(tasks(program))} tasks"
        run_interactive(program, banner_func=lambda banner: f"{banner}\n{text}")
    return int(ExitCode.PASSED)


def _say(message: str) -> None:
    if sys.stderr.isatty():
        echo(message, to_stderr=True)


def _run_script(program: Any, script: Sequence[str]) -> None:
    drgn.set_default_prog(program)
    sys.argv = list(script)
    try:
        runpy.run_path(script[0], init_globals={"prog": program}, run_name="__main__")
    except OSError as exc:
        raise UsageError(f"{script[0]} cannot be run: {exc.strerror}") from None
    finally:
        drgn.set_default_prog(None)
