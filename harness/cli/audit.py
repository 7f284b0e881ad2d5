# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn audit A B`: what changed between two states that were kept."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from harness.audit.classes import PageClass
from harness.audit.kept import Comparison, compare
from harness.base import files
from harness.base.errors import ExitCode
from harness.base.terminal import out
from harness.machine import keep
from harness.report import page

_OWNERS = 20


@click.command("audit")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--page",
    "page_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the picture of RAM goes; by default audit.html beside what SECOND kept.",
)
def audit_command(first: Path, second: Path, json_file: Path | None, page_file: Path | None) -> int:
    """Show which pages of RAM changed between two runs that kept their memory."""
    for file in (json_file, page_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.UsageError(f"there is no folder {file.absolute().parent}")
    before, after = keep.load(first), keep.load(second)
    target = page_file or after.path("audit.html")
    scratch = after.path("audit.core")
    found = compare(before, after, names=(str(first), str(second)), scratch=scratch)
    if json_file is not None:
        files.write(json_file, found.model_dump_json(indent=2) + "\n")
    files.write(target, render(found))
    show(found)
    out.print(f"page: {target}")
    return int(ExitCode.PASSED)


def render(found: Comparison) -> str:
    """Draw the picture of RAM.

    Args:
        found: What was found.
    """
    data = found.model_dump_json(include={"ranges", "codes", "changed"})
    return page.render(
        "audit.html.j2",
        found=found,
        kinds=[kind.value for kind in PageClass],
        # Nothing in it is to end the element that it is in.
        data=data.replace("<", "\\u003c").replace("&", "\\u0026"),
    )


def show(found: Comparison) -> None:
    """Print it for people.

    Args:
        found: What was found.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    table.add_column("pages", justify="right")
    table.add_column("changed", justify="right")
    for kind, (pages, changed) in found.classes.items():
        table.add_row(kind, str(pages), str(changed))
    out.print(table)
    owners = Table(box=None, pad_edge=False, header_style="bold")
    owners.add_column("whose (that are not free)")
    owners.add_column("changed", justify="right")
    for owner, count in list(found.owners.items())[:_OWNERS]:
        owners.add_row(escape(owner), str(count))
    out.print(owners)
    more = len(found.owners) - _OWNERS
    if more > 0:
        out.print(f"and {more} other owners: see the page, or --json")
    if found.left_out:
        out.print(f"{found.left_out} pages more changed than are told of here")
