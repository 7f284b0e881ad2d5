# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn bench`: what boots, saves, restores and edits cost."""

from __future__ import annotations

from pathlib import Path

import click

from harness.base.errors import ExitCode
from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import err, out
from harness.bench import edit as treebench
from harness.bench import machine as bench
from harness.cli.options import own_options, vm_options
from harness.kernel.own import Own
from harness.machine import lab


@click.command("bench")
@vm_options
@own_options
def bench_command(
    kernel: str, vm_config: str, accel: str, libvirt_uri: str, results: Path, own: Own
) -> int:
    """Measure boot, save and restore beside bare QEMU and the raw disk.

    With --kernel-tree: what an edit of one file costs, beside make alone; ends
    with 1 if that is above its goal.
    """
    chosen = lab.Options(
        kernel=kernel, vm_config=vm_config, accel=accel, libvirt_uri=libvirt_uri, own=own
    )
    with run_folder(results.absolute(), "bench") as folder:
        if own.kernel_tree is not None:
            with ProgressLine(err) as line:
                edits = treebench.run(chosen, folder, builds=line.build, listener=line.phase)
            treebench.show(edits, out)
            if edits.ratio > treebench.GOAL:
                err.print(f"kspawn: {edits.ratio:.2f} is above the goal of {treebench.GOAL:.2f}")
                return int(ExitCode.CHECK_FAILED)
        else:
            with ProgressLine(err) as line, lab.Lab(chosen, progress=line.build) as made:
                figures = bench.run(made, folder, listener=line.phase)
            bench.show(figures, out)
    return int(ExitCode.PASSED)
