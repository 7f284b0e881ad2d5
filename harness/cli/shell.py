# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn shell`: a person looks into a machine."""

from __future__ import annotations

from pathlib import Path

import click

from harness.base.errors import UsageError
from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import err
from harness.cli.options import own_options, vm_options
from harness.debug.shell import ROLES, run, run_again
from harness.kernel import specs
from harness.machine import keep, lab
from harness.machine.options import Options
from harness.record.timeline import Timeline


@click.command("shell")
@click.option(
    "--from",
    "from_run",
    type=click.Path(path_type=Path),
    help="The folder of a failed run: its machine, as it was then.",
)
@click.option("--role", type=click.Choice(ROLES), default="normal", show_default=True)
@click.option("--gdb", is_flag=True, help="Print the line that attaches gdb, with symbols.")
@vm_options
@own_options
def shell_command(
    from_run: Path | None,
    role: str,
    gdb: bool,
    chosen: Options,
    results: Path,
) -> int:
    """A shell in a machine: in its normal kernel, or in a spawned one before it does its work.

    Commands may come from a pipe. Ctrl-] ends it on a terminal.
    """
    specs.load_kernel(chosen.kernel)
    specs.load_vm_config(chosen.vm_config)
    kept = keep.load(from_run) if from_run is not None else None
    if kept is not None and kept.machine is None:
        raise UsageError(f"{from_run} did not keep the state of its machine: {kept.not_kept}")
    with run_folder(results.absolute(), f"shell-{role}") as folder:
        # The line is gone before the terminal is the shell's.
        with ProgressLine(err) as line:
            made = lab.Lab(chosen, progress=line.build)
        with made:
            if kept is not None:
                return run_again(made, folder, kept, gdb=gdb)
            return run(made, folder, role=role, gdb=gdb, timeline=Timeline())
