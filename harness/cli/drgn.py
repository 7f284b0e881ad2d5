# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn drgn`: the memory of a run that failed."""

from __future__ import annotations

from pathlib import Path

import click
from drgn.cli import run_interactive

from harness.audit.program import open_core
from harness.base.errors import ExitCode
from harness.base.terminal import echo
from harness.debug.drgn import core_of, run_script, say, tasks
from harness.machine import keep


@click.command("drgn")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("script", nargs=-1)
@click.option("--image", is_flag=True, help="The hibernation image, not the machine's memory.")
@click.option("--tasks", "only_tasks", is_flag=True, help="Print the list of tasks, and end.")
def drgn_command(run: Path, script: tuple[str, ...], image: bool, only_tasks: bool) -> int:
    """Open what a failed run kept in drgn: interactive, or with a SCRIPT and its arguments."""
    kept = keep.load(run)
    image = image or kept.memory is None
    core = core_of(kept, image=image, notify=say)
    kernel = kept.kernel("normal")
    program = open_core(core, kernel, notify=say)
    if only_tasks:
        for pid, state, name in tasks(program):
            echo(f"{pid:>7} {state} {name}")
    elif script:
        run_script(program, script)
    else:
        what = "hibernation image" if image else f"memory, as it was {kept.state}"
        text = f"{kernel.name} {kernel.release}: {what}; {len(tasks(program))} tasks"
        run_interactive(program, banner_func=lambda banner: f"{banner}\n{text}")
    return int(ExitCode.PASSED)
