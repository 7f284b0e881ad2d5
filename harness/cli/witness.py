# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn witness`: what the witness holds."""

from __future__ import annotations

import json

import click

from harness.guest.witnesses import witnesses


@click.group("witness")
def witness_command() -> None:
    """The kinds of state that a cycle checks."""


@witness_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for programs.")
def list_command(as_json: bool) -> int:
    """List them: name, kind, and what each holds; the program itself says it.

    Args:
        as_json: Whether the list is for a program.
    """
    if as_json:
        click.echo(json.dumps([facts.model_dump() for facts in witnesses()]))
        return 0
    for facts in witnesses():
        click.echo(f"{facts.name:20} {facts.kind:8} {facts.holds}")
    return 0
