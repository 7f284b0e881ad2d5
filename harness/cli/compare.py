# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn compare`: ways side by side."""

from __future__ import annotations

from pathlib import Path

import click

from harness.base.files import run_folder
from harness.base.progress import ProgressLine
from harness.base.terminal import echo, err, out
from harness.cli.options import vm_options
from harness.compare import model as compare
from harness.compare import report as compare_report
from harness.compare import tables
from harness.kernel import specs
from harness.machine import lab
from harness.machine.options import Options


@click.command("compare")
@click.argument("ways", nargs=-1, metavar="[WAY]...")
@vm_options
@click.option(
    "--fill",
    default=",".join(map(str, compare.DEFAULT_FILLS)),
    show_default=True,
    help="How full memory is to be, in per cent.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "table", "tsv", "json"]),
    default="auto",
    show_default=True,
    help="auto: a table on a terminal, tsv in a pipe.",
)
def compare_command(
    ways: tuple[str, ...],
    chosen: Options,
    results: Path,
    fill: str,
    form: str,
) -> int:
    """Run the named ways (all) with memory filled more and less, side by side."""
    names, fills = compare.chosen_ways(ways), compare.parse_fills(fill)
    specs.load_kernel(chosen.kernel)
    specs.load_vm_config(chosen.vm_config)
    with (
        run_folder(results.absolute(), "compare") as folder,
        ProgressLine(err) as line,
        lab.Lab(chosen, progress=line.build) as made,
    ):
        comparison = compare.run(
            made,
            folder,
            ways=names,
            fills=fills,
            listener=line.phase,
            notify=lambda title: setattr(line, "title", title),
            keep=lambda so_far: compare_report.write_report(so_far, folder),
        )
    if form == "json":
        echo(comparison.model_dump_json(indent=2))
    elif form == "tsv" or (form == "auto" and not out.is_terminal):
        echo(tables.tsv(comparison), end="")
    else:
        tables.show(comparison, out)
    tables.show_failures(comparison, err)
    (out if out.is_terminal and form in ("auto", "table") else err).print(
        f"report: {folder / 'compare.html'}"
    )
    return comparison.exit_code
