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
from harness.bench import history
from harness.bench import machine as bench
from harness.bench import sizes as benchsizes
from harness.cli.options import own_options, vm_options
from harness.machine import lab
from harness.machine.options import Options


@click.command("bench")
@vm_options
@own_options
@click.option(
    "--sizes",
    metavar="SIZE,...|all",
    help="Save and restore over amounts of RAM as well, such as 256MiB,2GiB.",
)
def bench_command(
    chosen: Options,
    results: Path,
    sizes: str | None,
) -> int:
    """Measure boot, save and restore beside bare QEMU and the raw disk.

    bench.html in the folder of the results draws all runs.

    With --kernel-tree: what an edit of one file costs, beside make alone; ends
    with 1 if that is above its goal.
    """
    with run_folder(results.absolute(), "bench") as folder:
        if chosen.own.kernel_tree is not None:
            with ProgressLine(err) as line:
                edits = treebench.run(chosen, folder, builds=line.build, listener=line.phase)
            treebench.show(edits, out)
            if edits.ratio > treebench.GOAL:
                err.print(f"kspawn: {edits.ratio:.2f} is above the goal of {treebench.GOAL:.2f}")
                return int(ExitCode.CHECK_FAILED)
        else:
            _measure(chosen, folder, results.absolute(), sizes)
    return int(ExitCode.PASSED)


def _measure(chosen: Options, folder: Path, results: Path, sizes: str | None) -> None:
    names = benchsizes.SIZES if sizes == "all" else sizes.split(",") if sizes else ()
    # First, and not after minutes: one of them may be a typing error.
    machines = benchsizes.with_memory(chosen.vm_config, folder, names)
    with ProgressLine(err) as line, lab.Lab(chosen, progress=line.build) as made:
        figures = bench.run(made, folder, listener=line.phase)
        new = history.entry(made, figures)
        new.sizes = benchsizes.run(made, folder, machines, listener=line.phase)
    bench.show(figures, out)
    if new.sizes:
        benchsizes.show(new.sizes, out)
    out.print(f"history: {history.add(results, new)}", soft_wrap=True)
