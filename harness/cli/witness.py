# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn witness`: what the witness holds."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path

import click

from harness.cli.listing import completes
from harness.cli.options import own_options, vm_options
from harness.cli.way import way_option
from harness.guest.witnesses import witnesses
from harness.machine.options import Options

# In place of the name of one.
_ALL = "all"


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


@witness_command.command("run")
@click.argument("name", shell_complete=completes("witnesses"))
@vm_options
@own_options
@way_option
@click.option("--warm/--cold", default=True, show_default=True, help="As for `cycle`.")
@click.option("--audit/--no-audit", default=False, show_default=True, help="As for `cycle`.")
def run_command(
    name: str,
    chosen: Options,
    results: Path,
    resume_path: str,
    warm: bool,
    audit: bool,
) -> int:
    """Take one of them, alone, or `all` of them through one cycle."""
    # Late: what runs machines is not imported for a list.
    from harness.cli.cycle import Call, run_cycle  # noqa: PLC0415

    known = [_ALL, *(facts.name for facts in witnesses())]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        also = f", is it {near[0]!r}?" if near else ""
        raise click.UsageError(f"there is no witness {name!r}{also} (./kspawn witness list)")
    return run_cycle(
        Call(
            options=replace(chosen, audit=audit, warm=warm),
            results=results,
            resume_path=resume_path,
            only="" if name == _ALL else name,
        )
    )
