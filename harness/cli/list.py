# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn list`: what there is to choose from."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from harness.base.terminal import out
from harness.cli.listing import KINDS


@click.command("list")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_command(kind: str, as_json: bool) -> int:
    """Tell which kernels, machines, ways, suites, witnesses or flavours there are."""
    found = KINDS[kind]()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return 0
    if not out.is_terminal:
        for one in found:
            click.echo(f"{one.name}\t{one.what}")
        return 0
    table = Table.grid(padding=(0, 2))
    for one in found:
        table.add_row(Text(one.name, style="bold"), Text(one.what))
    out.print(table)
    return 0
