# SPDX-License-Identifier: GPL-2.0-only
"""`./kspawn bisect-step`: one step, for `git bisect run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.base import data
from harness.bisect.command import step
from harness.cli.bisect import build_options
from harness.kernel.specs import ROOT


@click.command("bisect-step")
@build_options
@click.option(
    "--signature",
    multiple=True,
    help="The failure that is sought, as a report of `bisect` or this command prints it; "
    "may be repeated. Without it each failure is.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    help="The rate at which a bad kernel fails, from 0 to 1, if it is known.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=(ROOT if data.is_checkout() else Path()) / "results",
    help="Where the logs go.  [default: results/ of the checkout of kspawn]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bisect_step_command(
    arguments: tuple[str, ...],
    signature: tuple[str, ...],
    rate: float | None,
    results: Path,
    **given: Any,
) -> int:
    """Tell whether the checked-out commit is bad, for `git bisect run`.

    git bisect run ~/kspawn/kspawn bisect-step -- <arguments of pytest>

    Exit codes: 0 good, 1 bad, 125 cannot be tested, 200 and more: the
    bisection has to stop (202 usage, 203 something is missing, 205 the
    harness broke).
    """
    return step(arguments, signature, rate, results.absolute() / "bisect-step", given)
